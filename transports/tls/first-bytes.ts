/** Nobody gets the state of a TLS handshake, tens of kilobytes and the better part of a millisecond, before he has said a word. */
import type { Socket } from 'node:net';

/**
 * Waits for the first bytes of a socket that nobody has read from; they stay to be read.
 * @param done called once, unless the socket ends before: without an error when there is something to read
 */
export function awaitFirstBytes(socket: Socket, timeoutMs: number, done: (error?: Error) => void): void {
  const finish = (error?: Error): void => {
    clearTimeout(timer);
    socket.off('readable', read);
    socket.off('end', ended);
    socket.off('error', finish);
    socket.off('close', closed);
    // An error that comes after ours is no news.
    if (error !== undefined) socket.on('error', () => {});
    done(error);
  };
  const read = (): void => {
    // At the end, too, it says that it is readable.
    if (socket.readableLength > 0) finish();
  };
  const ended = (): void => finish(new Error('the connection ended before a TLS handshake began'));
  const closed = (): void => clearTimeout(timer);
  const late = (): void => finish(new Error(`no TLS handshake began within ${timeoutMs} ms`));
  const timer = setTimeout(late, timeoutMs);
  timer.unref();
  socket.on('readable', read);
  socket.on('end', ended);
  socket.on('error', finish);
  socket.on('close', closed);
}

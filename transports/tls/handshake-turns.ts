import type { Socket } from 'node:net';

/**
 * TLS handshakes one at a time, with a turn of the event loop for each. A ClientHello is the better part of a millisecond of work, and those of many
 * clients come in one go: whoever is logged in would wait for all of them, and waits for one.
 */
export class HandshakeTurns {
  readonly #waiting: (() => void)[] = [];

  /**
   * @param begin called in a turn of its own, behind those that came before, unless the socket is gone by then
   * @param failed called when it breaks before
   */
  wait(socket: Socket, begin: () => void, failed: (error: Error) => void): void {
    socket.on('error', failed);
    this.#waiting.push(() => {
      if (socket.destroyed) return;
      socket.off('error', failed);
      begin();
    });
    if (this.#waiting.length === 1) setImmediate(() => this.#next());
  }

  #next(): void {
    const begin = this.#waiting.shift();
    if (this.#waiting.length > 0) setImmediate(() => this.#next());
    begin?.();
  }
}

/** A RawClient over a WebSocket. */
import { WebSocket } from 'ws';
import type { RawClient } from '../contract/transport.ts';

/** What one frame carries at most: below the door's default, as a client must that knows the packet limit. */
const FRAME_BYTES = 500_000;

/** Resolves when the upgrade is done; rejects when it is refused. */
export function webSocketClient(ws: WebSocket): Promise<RawClient> {
  return new Promise((resolve, reject) => {
    ws.on('error', reject);
    ws.once('open', () => resolve(rawClient(ws)));
  });
}

function rawClient(ws: WebSocket): RawClient {
  return {
    write: (bytes) => {
      for (let at = 0; at < bytes.length; at += FRAME_BYTES) {
        if (ws.readyState === WebSocket.OPEN) ws.send(bytes.subarray(at, at + FRAME_BYTES));
      }
    },
    get unsentBytes() {
      return ws.bufferedAmount;
    },
    onData: (listener) => ws.on('message', (data) => listener(data as Buffer)),
    pause: () => ws.pause(),
    resume: () => ws.resume(),
    end: () => ws.close(1000),
    abort: () => ws.terminate(),
    onClosed: (listener) => (ws.readyState === WebSocket.CLOSED ? listener() : ws.once('close', listener)),
  };
}

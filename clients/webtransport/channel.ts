/** What every transport looks like from above: bytes both ways, with back-pressure, and an end of each half. */

export type TransportKind = 'webtransport' | 'websocket';

export interface Channel {
  /** Resolves to the next bytes, or to null when the broker has ended its half and nothing is left. Rejects when the connection is lost. */
  read(): Promise<Uint8Array | null>;
  /** Takes the bytes and resolves when more may follow. Rejects when the connection is lost. */
  write(bytes: Uint8Array): Promise<void>;
  /** Ends the own half behind what was written. */
  end(): Promise<void>;
  /** Lets go of the connection; what is still under way is lost unless both halves have ended. Never throws. */
  close(): void;
}

/** How long the broker may take to end its half after the client has ended its own, and a session to close behind both. */
export const END_MS = 5_000;

/** An attempt to connect that failed: names the address and what to look at. MQTT.js tells errors with a `code` to the page. */
export class TransportError extends Error {
  readonly code = 'ERR_MQTT_TRANSPORT';
  override readonly name = 'TransportError';
}

/** What was thrown, to stand within a sentence; some engines throw errors with an empty message. */
export function reasonOf(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown);
  return thrown.message === '' ? thrown.name : thrown.message.replace(/\.$/, '');
}

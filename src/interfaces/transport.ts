/** The seam between a door (TCP, TLS, WebSocket, …) and the session core. Types only. */
import type { Visit } from './doorkeeper.ts';

/** Who is at the other end, as far as the transport knows. */
export interface PeerInfo {
  /** The listener's URL as configured, e.g. `mqtts://0.0.0.0:8883`. */
  readonly door: string;
  /** Remote IP address, or the socket path for a unix socket. */
  readonly address: string;
  /** Remote port; 0 where the transport has none. */
  readonly port: number;
  /** True when the transport encrypts. */
  readonly secure: boolean;
  /** The user name that the transport vouches for: that of a verified client certificate. Without it: none. */
  readonly username?: string;
  /** The Origin of the web page that opened a WebSocket, as its browser sent it; without it: not a browser's connection. */
  readonly origin?: string;
  /** Address of the proxy that told us `address`; without it: the client came by itself. */
  readonly proxy?: string;
}

/**
 * One live connection, as the core sees it: a byte stream both ways.
 * After `end` or `abort` the core writes nothing more.
 */
export interface Wire {
  readonly peer: PeerInfo;
  /** Its entry with the doorkeeper; without it: the door has none. */
  readonly visit?: Visit;
  /**
   * Hands bytes over. True: the bytes have left and the caller may reuse the buffer at once.
   * False: the wire still holds the buffer. The caller must leave it alone, and write nothing more,
   * until `WireEvents.drain`.
   */
  write(bytes: Uint8Array): boolean;
  /** Stops `data` events until `resume`. At most one chunk already read may still arrive. */
  pause(): void;
  resume(): void;
  /** Sends what was written, then closes in the transport's polite way. `reasonCode`: MQTT 5 reason for doors that can carry it. */
  end(reasonCode?: number): void;
  /** Closes at once; what was not sent is lost. */
  abort(error?: Error): void;
}

/** What the core wants to hear of a wire. Exactly one `closed`, and nothing after it. */
export interface WireEvents {
  /** Bytes as they arrived, in any split. The buffer is lent until the call returns: whoever needs bytes later copies them. */
  data(chunk: Buffer): void;
  /** What `write` held back has left: the buffer is free again, and the core may write. */
  drain(): void;
  /** The connection is over. With `error` when it broke; without when the peer closed (a half-close counts) or the core ended it. */
  closed(error?: Error): void;
  /**
   * The peer opened a further stream of this connection, where the transport has such: a wire with the same contract, but that
   * `end` with a reason code other than 0 resets the stream with that code, and that its end is not that of the connection.
   * Null: not wanted, to be reset with `STREAM_REFUSED`. Never called behind `closed`; and when the connection is over, each
   * stream hears its own `closed` before.
   */
  stream?(wire: Wire): WireEvents | null;
}

/** Where a transport ended up listening. */
export interface Address {
  /** The URL with the port that was bound (an ephemeral 0 becomes the real one). */
  readonly url: string;
  readonly port: number;
}

/** A door: accepts connections and hands each to the core. */
export interface Transport {
  /** Binds and starts to accept. Rejects with an error that names the URL and the remedy (port in use, bad key, …). */
  listen(accept: (wire: Wire) => WireEvents): Promise<Address>;
  /** Stops accepting, gives open wires `graceMs` to end, then aborts them. Resolves when nothing is left. */
  close(graceMs: number): Promise<void>;
}

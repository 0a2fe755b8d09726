/** The seam for who gets in and what they may do. Types only. */
import type { PeerInfo } from './transport.ts';

/** Who a connection (and the session it made) belongs to. */
export interface Identity {
  /** The authenticated user name; null for an anonymous client. */
  readonly username: string | null;
  readonly clientId: string;
}

/** One CONNECT that wants in. */
export interface Attempt {
  readonly clientId: string;
  /** Null when the CONNECT carried no user name (which is not an empty one). */
  readonly username: string | null;
  /** Null when the CONNECT carried no password (which is not an empty one). Bytes with a length: NUL is a byte like any other. */
  readonly password: Uint8Array | null;
  readonly protocolVersion: 3 | 4 | 5;
  readonly peer: PeerInfo;
}

export type Verdict =
  | { readonly ok: true; readonly username: string | null }
  /** `bad-credentials`: unknown user or wrong password, never told apart. `busy`: the hash queue is full, try later. */
  | { readonly ok: false; readonly reason: 'bad-credentials' | 'not-authorized' | 'busy' | 'unavailable' };

export interface Authenticator {
  /** Decides on an attempt. May wait (password hashing, HTTP). A rejected promise counts as `unavailable`. */
  authenticate(attempt: Attempt): Verdict | Promise<Verdict>;
}

/** `publish`: to this topic name. `subscribe`: with this filter ($share/group/ already taken off). `receive`: a message of this topic name. */
export type Action = 'publish' | 'subscribe' | 'receive';

export interface Authorizer {
  /** Never waits, never throws. For `subscribe`: true when anything that the filter selects could be allowed. */
  may(identity: Identity, action: Action, topic: string): boolean;
  /** Changes whenever an earlier answer may no longer hold, so that callers may cache answers. */
  readonly generation: number;
}

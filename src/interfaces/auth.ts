/** The seam for who gets in and what they may do. Types only. */
import type { PeerInfo } from './transport.ts';

/** Who a connection (and the session it made) belongs to. */
export interface Identity {
  /** The authenticated user name; null for an anonymous client. */
  readonly username: string | null;
  readonly clientId: string;
  /** What its credential allows at most (the claims of a token, the scope of a ticket); null or without it: as much as the rules say. */
  readonly grants?: Grants | null;
  /** URL of the listener that it came in by last, as configured; null or without it: it is a session that was only read from the store. */
  readonly door?: string | null;
}

/** Topic filters; what none of them matches is not allowed. */
export interface Grants {
  readonly publish: readonly string[];
  /** For subscriptions, and for what is received. */
  readonly subscribe: readonly string[];
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

export interface Accepted {
  readonly ok: true;
  readonly username: string | null;
  /** Without it: null. */
  readonly grants?: Grants | null;
  /** Monotonic milliseconds (Clock.now) at which the login is over and the client disconnected; without it: never. */
  readonly endsAtMs?: number;
  /** What the client showed, where that can be taken back. */
  readonly credential?: Credential | null;
}

export interface Credential {
  /** True once it is gone or another: whoever logged in with it has to go. */
  readonly isRevoked: boolean;
}

export interface Refused {
  readonly ok: false;
  readonly reason: RefusalReason;
}

/**
 * `bad-credentials`: unknown user or wrong password, never told apart to the client. `unknown-user`: the same, but another authenticator
 * may know him. `busy`: the hash queue is full, try later. `throttled`: too many failures from there. `unavailable`: cannot be decided now.
 */
export type RefusalReason =
  | 'bad-credentials'
  | 'unknown-user'
  | 'not-authorized'
  | 'banned'
  | 'throttled'
  | 'busy'
  | 'unavailable';

export type Verdict = Accepted | Refused;

export interface Authenticator {
  /** Decides on an attempt. May wait (password hashing, HTTP). A rejected promise counts as `unavailable`. */
  authenticate(attempt: Attempt): Verdict | Promise<Verdict>;
  /** Begins an enhanced authentication (MQTT 5.0 section 4.12); null: the method is not known. Without it: none is. */
  exchange?(method: string, attempt: Attempt): Exchange | null;
}

/** One enhanced authentication, at CONNECT or later. */
export interface Exchange {
  /** Takes the client's next Authentication Data (empty when it sent none). A rejected promise counts as `unavailable`. */
  next(data: Uint8Array): Step | Promise<Step>;
}

/**
 * `data`: Authentication Data for the client; null: none. `username`: who the client says it is, once that is known, for those who count
 * and log failures.
 */
export type Step =
  | { readonly kind: 'continue'; readonly data: Uint8Array | null; readonly username?: string }
  | { readonly kind: 'end'; readonly verdict: Verdict; readonly data: Uint8Array | null };

/** `publish`: to this topic name. `subscribe`: with this filter ($share/group/ already taken off). `receive`: a message of this topic name. */
export type Action = 'publish' | 'subscribe' | 'receive';

export interface Authorizer {
  /** Never waits, never throws. For `subscribe`: true when anything that the filter selects could be allowed. */
  may(identity: Identity, action: Action, topic: string): boolean;
  /** Changes whenever an earlier answer may no longer hold, so that callers may cache answers. */
  readonly generation: number;
}

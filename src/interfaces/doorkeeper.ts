/** The seam for who may knock at a door, before anything of him is read. Types only. */

export interface Doorkeeper {
  /**
   * Somebody has connected to `door` (a listener's URL as configured) from `address`. Called once for each socket, QUIC connection or
   * session, before a handshake and before anything is allocated for it.
   * @param evict closes it at once: somebody else needs the place more
   * @returns null: it is to be closed at once, without a word; nothing of it is kept
   */
  knock(door: string, address: string, evict: () => void): Visit | null;
}

/** One who was let in, until his socket is gone. */
export interface Visit {
  /** A trusted proxy said that he is at this address. False: he is turned away after all. */
  moved(address: string): boolean;
  /** He has logged in, and is no stranger any more. */
  loggedIn(): void;
  /** The socket is gone. Called exactly once. */
  left(): void;
}

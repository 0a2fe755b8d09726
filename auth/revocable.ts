import type { Credential } from '../src/interfaces/auth.ts';

interface Entry {
  readonly text: string;
  readonly credential: { isRevoked: boolean };
}

/** Credentials of one file that somebody has logged in with. All who did with the same share one object, so that a connection costs a pointer. */
export class RevocableCredentials {
  readonly #byName = new Map<string, Entry>();

  /** @param text what the file says of it */
  of(name: string, text: string): Credential {
    const known = this.#byName.get(name);
    if (known?.text === text) return known.credential;
    const credential = { isRevoked: false };
    this.#byName.set(name, { text, credential });
    return credential;
  }

  /**
   * The file is another.
   * @param textOf what it says now; undefined: nothing
   */
  review(textOf: (name: string) => string | undefined): void {
    for (const [name, { text, credential }] of this.#byName) {
      if (textOf(name) === text) continue;
      credential.isRevoked = true;
      this.#byName.delete(name);
    }
  }
}

/** What every Authenticator must do. A plug's test file calls this with a factory and is then finished. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Attempt, Authenticator, Verdict } from '../../src/interfaces/auth.ts';

export interface AuthenticatorUnderTest {
  /** Anonymous clients are not allowed in it. */
  readonly authenticator: Authenticator;
  /** A user it lets in. */
  readonly username: string;
  readonly password: Uint8Array;
  /** The password says whose it is, so that it is enough without a user name. */
  readonly isToken?: boolean;
  close?(): Promise<void> | void;
}

/** An attempt from nowhere in particular, with the given parts. */
export function attempt(parts: Partial<Attempt> = {}): Attempt {
  return {
    clientId: 'client',
    username: null,
    password: null,
    protocolVersion: 5,
    peer: { door: 'mqtt://127.0.0.1:1883', address: '127.0.0.1', port: 40_000, secure: false },
    ...parts,
  };
}

/** Registers the suite under `name`. */
export function authenticatorContract(name: string, make: () => Promise<AuthenticatorUnderTest>): void {
  const withOne = async (test: (subject: AuthenticatorUnderTest) => Promise<void>) => {
    const subject = await make();
    try {
      await test(subject);
    } finally {
      await subject.close?.();
    }
  };
  const verdictOf = async (subject: AuthenticatorUnderTest, parts: Partial<Attempt>): Promise<Verdict> =>
    subject.authenticator.authenticate(attempt(parts));
  const refused = async (subject: AuthenticatorUnderTest, parts: Partial<Attempt>) => {
    const verdict = await verdictOf(subject, parts);
    // The client hears the same for both.
    assert.ok(
      !verdict.ok && /^(bad-credentials|unknown-user)$/.test(verdict.reason),
      JSON.stringify(verdict),
    );
  };

  describe(`${name} as an authenticator`, () => {
    it('lets the right user in under its own name', () =>
      withOne(async (subject) => {
        const { username, password } = subject;
        const verdict = await verdictOf(subject, { username, password });
        assert.deepEqual(verdict.ok && verdict.username, username);
      }));

    it('lets several in at once', () =>
      withOne(async (subject) => {
        const { username, password } = subject;
        const wrong = Buffer.from('wrong');
        const verdicts = await Promise.all(
          [password, wrong, password, wrong].map((given) =>
            verdictOf(subject, { username, password: given }),
          ),
        );
        assert.deepEqual(
          verdicts.map((verdict) => verdict.ok),
          [true, false, true, false],
        );
      }));

    it('refuses every password that is not the right one, byte for byte and to the last', () =>
      withOne(async (subject) => {
        const { username, password } = subject;
        const flipped = Uint8Array.from(password, (byte, i) => (i === 0 ? byte ^ 1 : byte));
        const wrong = [
          Buffer.alloc(0),
          Buffer.from([0]),
          Buffer.concat([password, Buffer.from([0])]),
          Buffer.concat([password, Buffer.from([0, 0, 0])]),
          Buffer.concat([password, Buffer.from('\0anything')]),
          Buffer.concat([Buffer.from([0]), password]),
          Buffer.concat([password, Buffer.from(' ')]),
          Buffer.concat([password, Buffer.from('\n')]),
          Buffer.concat([password, password]),
          Buffer.from(password.subarray(0, -1)),
          Buffer.from(password.subarray(1)),
          flipped,
          Buffer.alloc(65_535, password),
        ];
        for (const given of wrong) await refused(subject, { username, password: given });
      }));

    it('refuses a user without a password, with or without such a user', () =>
      withOne(async (subject) => {
        await refused(subject, { username: subject.username, password: null });
        await refused(subject, { username: 'nobody', password: null });
      }));

    it('answers an unknown user as it answers a wrong password', () =>
      withOne(async (subject) => {
        const { username, password } = subject;
        const strangers = [
          '',
          'nobody',
          '__proto__',
          'constructor',
          `${username} `,
          `${username}\0`,
          '#',
          '+/x',
        ];
        for (const stranger of [...strangers, username.toUpperCase(), 'x'.repeat(65_535)]) {
          await refused(subject, { username: stranger, password });
        }
      }));

    it('refuses a client without a user name where anonymous clients are not allowed', () =>
      withOne(async (subject) => {
        await refused(subject, {});
        if (subject.isToken !== true) await refused(subject, { password: subject.password });
      }));
  });
}

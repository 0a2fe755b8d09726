/** A flood of guesses: none of them gets in, and whoever knows the password does. */
import assert from 'node:assert/strict';
import { setTimeout as wait } from 'node:timers/promises';
import { hashArgon2id } from '../../auth/passwords/argon2id.ts';
import { PacketType } from '../../src/codec/packets.ts';
import { connect } from '../support/packets.ts';
import { attackBroker, type Target } from './harness/target.ts';

const GUESSES_A_SECOND = 500;
const SECONDS_MIN = 3;
/** Only a broker that lets nobody in makes the flood last that long. */
const SECONDS_MAX = 30;
const TICK_MS = 50;
const USERS = { canary: 'sings', valid: 'correct horse', other: 'battery staple' };
/** As `sluice passwd` writes them: what a hash costs decides how long the queue is. */
const PASSWORD_LINES = await Promise.all(
  Object.entries(USERS).map(
    async ([name, password]) => `${name}:${await hashArgon2id(Buffer.from(password))}`,
  ),
);
const LOGINS = 5;
/** Far from where the guesses come from. */
const CLEAN_HOST = 100_000;

/** Sends one CONNECT; answers the reason code, or `closed`. */
async function tryLogin(
  target: Target,
  from: number,
  login: Parameters<typeof connect>[0],
): Promise<number | 'closed'> {
  const client = await target.client('tcp', 5, from);
  client.send(connect(login));
  const answer = await client.next();
  client.raw.abort();
  if (answer === null) return 'closed';
  assert.ok(answer.type === PacketType.CONNACK);
  return answer.reasonCode;
}

class Flood {
  readonly heard = new Map<number | 'closed', number>();
  sent = 0;
  stopped = false;
  readonly #target: Target;
  readonly #hosts: number;

  constructor(target: Target, hosts: number) {
    this.#target = target;
    this.#hosts = hosts;
  }

  /** Guesses, at least for a while, until it is stopped; resolves when each has its answer. */
  async run(): Promise<void> {
    const guesses: Promise<void>[] = [];
    const startedAt = performance.now();
    for (let tick = 1; tick <= (SECONDS_MAX * 1_000) / TICK_MS; tick++) {
      if (this.stopped && tick > (SECONDS_MIN * 1_000) / TICK_MS) break;
      for (; this.sent < (GUESSES_A_SECOND * TICK_MS * tick) / 1_000; this.sent++)
        guesses.push(this.#guess(this.sent));
      await wait(Math.max(0, startedAt + tick * TICK_MS - performance.now()));
    }
    await Promise.all(guesses);
  }

  /** Hosts by the hundred share a network, as rented ones would. */
  async #guess(number: number): Promise<void> {
    const username = number % 3 === 0 ? 'valid' : number % 3 === 1 ? 'other' : `nobody-${number}`;
    const login = { clientId: `guess-${number}`, username, password: `guess ${number}` };
    const code = await tryLogin(this.#target, 1_000 + (number % this.#hosts), login);
    this.heard.set(code, (this.heard.get(code) ?? 0) + 1);
  }
}

for (const [what, hosts] of [
  ['one address', 1],
  ['200 addresses', 200],
] as const) {
  attackBroker(
    `${GUESSES_A_SECOND} guesses a second from ${what} let nobody in but who knows the password`,
    { passwordLines: PASSWORD_LINES, canary: { username: 'canary', password: USERS.canary } },
    async (target) => {
      const flood = new Flood(target, hosts);
      const logins: string[] = [];
      const logIn = async (): Promise<void> => {
        const login = { clientId: 'valid', username: 'valid', password: USERS.valid };
        for (let count = 0; count < LOGINS; count++) {
          await wait((SECONDS_MIN * 1_000) / (LOGINS + 1));
          const begunAt = performance.now();
          let tries = 1;
          // While nobody knows his host, as many new ones as the queue has places may be in front of him: then he tries again.
          while ((await tryLogin(target, CLEAN_HOST, login)) !== 0) {
            assert.ok(hosts > 1 && count === 0, 'a valid login was refused');
            assert.ok(performance.now() - begunAt < SECONDS_MAX * 1_000, 'a valid login never gets in');
            tries++;
          }
          logins.push(
            `${Math.round(performance.now() - begunAt)} ms${tries > 1 ? ` in ${tries} tries` : ''}`,
          );
        }
      };
      let over = false;
      const sing = async (): Promise<void> => {
        for (; !over; await wait(TICK_MS)) await target.canary.sing();
      };
      const singing = sing();
      const flooding = flood.run();
      const [loggedIn] = await Promise.allSettled([logIn()]);
      flood.stopped = true;
      await flooding;
      over = true;
      await singing;
      const heard = [...flood.heard].map(
        ([code, count]) => `${count} × ${code === 'closed' ? code : `0x${code.toString(16)}`}`,
      );
      target.tell(`${flood.sent} guesses heard ${heard.join(', ')}; valid logins took ${logins.join(', ')}`);
      if (loggedIn.status === 'rejected') throw loggedIn.reason;
      assert.equal(flood.heard.has(0), false, 'a guess got in');
      assert.ok(target.log('auth.failed').length > 0, 'no auth.failed in the log');
      await target.assertGrownBy(64 << 20, 'a flood of guesses');
    },
  );
}

/** Tickets: what one is good for, and that nothing else is taken for one. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { SignJWT } from 'jose';
import { JwtAuthenticator } from '../../auth/jwt/jwt-authenticator.ts';
import { readSecretFile } from '../../auth/jwt/jwt-keys.ts';
import {
  type MintOptions,
  makeTicketKeyFile,
  mintTicket,
  readTicketKeys,
  TICKET_TYPE,
  type TicketKeys,
} from '../../auth/tickets/ticket.ts';
import { TicketAuthenticator } from '../../auth/tickets/ticket-authenticator.ts';
import type { Attempt, Verdict } from '../../src/interfaces/auth.ts';
import { attempt } from '../contract/authenticator.ts';
import { FakeClock } from '../support/fake-clock.ts';

const directory = mkdtempSync(join(tmpdir(), 'sluice-ticket-'));
after(() => rmSync(directory, { recursive: true }));

let files = 0;
function keyFile(text: string, mode = 0o600): string {
  const path = join(directory, `key-${files++}`);
  writeFileSync(path, text, { mode });
  return path;
}

const keyText = makeTicketKeyFile();
const keys = readTicketKeys(keyFile(keyText));
const clock = new FakeClock();
const ORIGIN = 'https://dash.example.org';
const SCOPE = {
  user: 'dash',
  origin: ORIGIN,
  subscribe: ['plant/#'],
  publish: ['plant/%c/ack'],
  seconds: 300,
};

function mint(options: Partial<MintOptions> = {}): Promise<string> {
  return mintTicket({ keys, ...SCOPE, nowMs: clock.wallNow(), ...options });
}

function from(ticket: string, parts: Partial<Attempt> = {}, origin: string | null = ORIGIN): Attempt {
  const { peer } = attempt();
  return attempt({
    password: Buffer.from(ticket),
    clientId: 'page-1',
    peer: origin === null ? peer : { ...peer, origin },
    ...parts,
  });
}

function make(current: TicketKeys = keys, time = clock) {
  const told: string[] = [];
  const tickets = new TicketAuthenticator({
    keys: current,
    clock: time,
    secondsMax: 3_600,
    onRefused: (problem) => told.push(problem),
  });
  return { tickets, told, ask: async (given: Attempt): Promise<Verdict> => tickets.authenticate(given) };
}

const ACCEPTED: Verdict = {
  ok: true,
  username: 'dash',
  grants: { publish: ['plant/page-1/ack'], subscribe: ['plant/#'] },
  endsAtMs: clock.now() + 300_000,
  credential: { isRevoked: false },
};
const REFUSED: Verdict = { ok: false, reason: 'bad-credentials' };
const UNKNOWN: Verdict = { ok: false, reason: 'unknown-user' };

describe('A ticket', () => {
  it('lets a page of its origin in as its user, for its topics, until it ends', async () => {
    const { ask } = make();
    const ticket = await mint();
    assert.deepEqual(await ask(from(ticket)), ACCEPTED);
    assert.deepEqual(await ask(from(ticket, { username: 'dash' })), ACCEPTED);
  });

  it('is good for no other origin, and for no client that is not a page', async () => {
    const { ask, told } = make();
    const ticket = await mint();
    const others = [
      'https://dash.example.org.evil.org',
      'http://dash.example.org',
      `${ORIGIN}:8443`,
      `${ORIGIN}/`,
    ];
    for (const origin of [...others, 'https://DASH.example.org', 'null', '', null])
      assert.deepEqual(await ask(from(ticket, {}, origin)), REFUSED, String(origin));
    assert.equal(new Set(told).size, 2);
  });

  it('is good for no other user, and for no other client id where it names one', async () => {
    const { ask } = make();
    for (const username of ['admin', '', 'dash '])
      assert.deepEqual(await ask(from(await mint(), { username })), REFUSED, username);
    const bound = await mint({ clientId: 'page-1' });
    assert.deepEqual(await ask(from(bound)), ACCEPTED);
    for (const clientId of ['page-2', '', 'page-1 '])
      assert.deepEqual(await ask(from(bound, { clientId })), REFUSED);
  });

  it('ends to the second', async () => {
    const time = new FakeClock();
    const { ask } = make(keys, time);
    const ticket = await mint({ seconds: 10, nowMs: time.wallNow() });
    time.advance(9_500);
    const late = await ask(from(ticket));
    assert.equal(late.ok && late.endsAtMs! - time.now(), 500);
    time.advance(500);
    assert.deepEqual(await ask(from(ticket)), REFUSED);
  });

  it('is refused when it lives longer than the broker allows', async () => {
    const { ask, told } = make();
    assert.deepEqual(await ask(from(await mint({ seconds: 3_601 }))), REFUSED);
    assert.deepEqual(told, ['the ticket lives longer than auth.tickets.secondsMax']);
    assert.equal((await ask(from(await mint({ seconds: 3_600 })))).ok, true);
  });

  it('is refused with any one character changed, and cut short anywhere', async () => {
    const { ask } = make();
    const ticket = await mint();
    for (let at = 0; at < ticket.length - 1; at++) {
      const other = ticket[at] === 'A' ? 'B' : 'A';
      assert.equal(
        (await ask(from(ticket.slice(0, at) + other + ticket.slice(at + 1)))).ok,
        false,
        `changed at ${at}`,
      );
      assert.equal((await ask(from(ticket.slice(0, at)))).ok, false, `cut at ${at}`);
    }
  });

  it('is not taken for a token of another kind, nor the other way round, even under one key', async () => {
    const secretFile = keyFile(`${'k'.repeat(43)}\n`);
    const secret = Buffer.from('k'.repeat(43));
    const jwt = new JwtAuthenticator({
      keys: { keys: () => readSecretFile(secretFile, { algorithms: null }) },
      clock,
      issuer: null,
      audiences: null,
      usernameClaim: 'sub',
      aclClaim: 'acl',
      clockToleranceSeconds: 0,
    });
    const [key] = keys;
    const claims = { origin: ORIGIN, acl: { pub: ['#'], sub: ['#'] }, iat: clock.wallNow() / 1_000 };
    const sign = (typ: string | undefined, by: Uint8Array | typeof key.secret): Promise<string> =>
      new SignJWT({ ...claims, sub: 'dash', exp: claims.iat + 60 })
        .setProtectedHeader({ alg: 'HS256', kid: key.id, ...(typ === undefined ? {} : { typ }) })
        .sign(by);
    for (const typ of [undefined, 'JWT', 'at+jwt', 'ticket+jwt']) {
      assert.deepEqual(await make().ask(from(await sign(typ, key.secret))), UNKNOWN, typ);
      assert.equal((await jwt.authenticate(from(await sign(typ, secret)))).ok, typ !== 'ticket+jwt');
    }
    assert.deepEqual(await jwt.authenticate(from(await sign(TICKET_TYPE, secret))), UNKNOWN);
    assert.equal((await make().ask(from(await sign(TICKET_TYPE, key.secret)))).ok, true);
  });

  it('is left to others when it is none', async () => {
    const { ask, told } = make();
    for (const word of ['', 'secret', 'a.b.c']) assert.deepEqual(await ask(from(word)), UNKNOWN);
    assert.deepEqual(await ask(from('', { password: null })), UNKNOWN);
    assert.deepEqual(told, []);
  });

  it('outlives the change to a new key as long as the old one stays in the file', async () => {
    const old = await mint();
    const newText = makeTicketKeyFile();
    const { tickets, ask } = make();
    const both = readTicketKeys(keyFile(`${newText}${keyText}`));
    tickets.replaceKeys(both);
    assert.deepEqual(await ask(from(old)), ACCEPTED);
    const [byOld, byNew] = [await ask(from(old)), await ask(from(await mint({ keys: both })))];
    assert.deepEqual([byOld, byNew], [ACCEPTED, ACCEPTED]);
    tickets.replaceKeys(readTicketKeys(keyFile(newText)));
    assert.deepEqual(
      [byOld, byNew].map((verdict) => verdict.ok && verdict.credential?.isRevoked),
      [true, false],
    );
    assert.deepEqual(await ask(from(old)), REFUSED);
    assert.deepEqual(await ask(from(await mint({ keys: both }))), ACCEPTED);
  });
});

describe('Making a ticket', () => {
  it('is refused for what could not be used, with the part that is wrong', async () => {
    const wrong: [Partial<MintOptions>, RegExp][] = [
      [{ user: '' }, /^user: /],
      [{ user: 'a\nb' }, /^user: /],
      [{ origin: 'dash.example.org' }, /^origin: /],
      [{ origin: `${ORIGIN}/` }, /^origin: /],
      [{ origin: 'null' }, /^origin: /],
      [{ origin: '*' }, /^origin: /],
      [{ clientId: '' }, /^client: /],
      [{ seconds: 0 }, /^seconds: /],
      [{ seconds: 1.5 }, /^seconds: /],
      [{ seconds: 86_401 }, /^seconds: /],
      [{ subscribe: ['a/#/b'] }, /^subscribe: /],
      [{ publish: ['$share/g/a'] }, /^publish: /],
      [{ publish: Array.from({ length: 101 }, () => 'a') }, /^publish: /],
      [{ publish: [], subscribe: [] }, /^ticket: it would allow nothing/],
      [{ publish: Array.from({ length: 100 }, () => 'x'.repeat(200)) }, /^ticket: it has \d+ bytes/],
    ];
    for (const [options, message] of wrong)
      await assert.rejects(mint(options), { name: 'ConfigError', message });
  });
});

describe('A ticket key file', () => {
  it('that cannot be used is an error that names it and its line, and repeats no key', () => {
    const line = keyText.split('\n')[1];
    const wrong: [string, number, RegExp][] = [
      ['', 0o600, /there is no key in it/],
      ['# nothing\n', 0o600, /there is no key in it/],
      [`${line}\nsluice-ticket-key:short\n`, 0o600, /:2: this is no ticket key/],
      [`${line.slice(0, -1)}\n`, 0o600, /:1: this is no ticket key/],
      [`${line} \n`, 0o600, /:1: this is no ticket key/],
      [`${line}\n`.repeat(17), 0o600, /there are 17 keys in it/],
      [keyText, 0o644, /mode 0644 opens the file to others/],
    ];
    for (const [text, mode, message] of wrong) {
      assert.throws(
        () => readTicketKeys(keyFile(text, mode)),
        (error: Error) => message.test(error.message) && !error.message.includes(line.slice(20, 40)),
      );
    }
  });
});

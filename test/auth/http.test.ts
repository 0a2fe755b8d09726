/** Logins that a service over HTTP decides: what it is told, what it may answer, and that nothing else lets anybody in. */
import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import { HttpAuthenticator, type HttpOptions } from '../../auth/http/http-authenticator.ts';
import { CACHE_BYTES_MAX, LoginCache } from '../../auth/http/http-cache.ts';
import { LoginThrottle } from '../../auth/throttle/throttle.ts';
import type { Attempt, Verdict } from '../../src/interfaces/auth.ts';
import { DEFAULT_THROTTLE_LIMITS } from '../../src/limits.ts';
import { attempt, authenticatorContract } from '../contract/authenticator.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { json, type Service, startService } from './http-server.ts';

let service: Service;
let clock: FakeClock;
beforeEach(async () => {
  service = await startService();
  clock = new FakeClock();
});
afterEach(() => service.close());

const ALICE = { username: 'alice', password: Buffer.from('right') };
const REFUSED: Verdict = { ok: false, reason: 'bad-credentials' };
const UNKNOWN: Verdict = { ok: false, reason: 'unknown-user' };
const UNAVAILABLE: Verdict = { ok: false, reason: 'unavailable' };
const ACCEPTED: Verdict = { ok: true, username: 'alice', grants: null };

function make(options: Partial<HttpOptions> = {}) {
  const told: string[] = [];
  const authenticator = new HttpAuthenticator({
    url: service.url,
    timeoutSeconds: 3,
    concurrencyMax: 16,
    cacheSeconds: 0,
    clock,
    onError: (problem) => told.push(problem),
    ...options,
  });
  const ask = async (parts: Partial<Attempt> = ALICE): Promise<Verdict> =>
    authenticator.authenticate(attempt(parts));
  return { ask, told };
}

authenticatorContract('A login service', async () => {
  const own = await startService();
  own.answer = (request, response) => {
    const { username, password, passwordEncoding } = JSON.parse(own.asked.at(-1)!);
    const isRight = username === 'alice' && password === 'right' && passwordEncoding === 'utf8';
    json({ result: isRight ? 'allow' : 'deny' })(request, response);
  };
  const options = { url: own.url, timeoutSeconds: 30, concurrencyMax: 4, cacheSeconds: 60 };
  return {
    authenticator: new HttpAuthenticator({ ...options, clock: new FakeClock() }),
    username: 'alice',
    password: Buffer.from('right'),
    close: () => own.close(),
  };
});

describe('A login service', () => {
  it('is told who wants in, from where, and with what', async () => {
    const { ask } = make();
    const { peer } = attempt();
    await ask(ALICE);
    await ask({
      password: Buffer.from([0xff, 0x00]),
      protocolVersion: 4,
      peer: { ...peer, username: 'cert' },
    });
    await ask({ username: 'é\u0000"', password: Buffer.from('\u0000ü') });
    await ask({});
    const common = { clientId: 'client', address: '127.0.0.1', door: 'mqtt://127.0.0.1:1883' };
    assert.deepEqual(
      service.asked.map((body) => JSON.parse(body)),
      [
        {
          ...common,
          username: 'alice',
          password: 'right',
          passwordEncoding: 'utf8',
          protocolVersion: 5,
          certificateUser: null,
        },
        {
          ...common,
          username: null,
          password: '/wA=',
          passwordEncoding: 'base64',
          protocolVersion: 4,
          certificateUser: 'cert',
        },
        {
          ...common,
          username: 'é\u0000"',
          password: '\u0000ü',
          passwordEncoding: 'utf8',
          protocolVersion: 5,
          certificateUser: null,
        },
        {
          ...common,
          username: null,
          password: null,
          passwordEncoding: null,
          protocolVersion: 5,
          certificateUser: null,
        },
      ],
    );
  });

  it('allows, denies, or leaves it to others', async () => {
    const { ask, told } = make();
    const cases: [Service['answer'], Verdict][] = [
      [json({ result: 'allow' }), ACCEPTED],
      [json({ result: 'deny' }), REFUSED],
      [json({ result: 'ignore' }), UNKNOWN],
      [json({}, 403), REFUSED],
      [(_request, response) => response.writeHead(403).end('no'), REFUSED],
      [json({ result: 'allow', username: 'device-7' }), { ...ACCEPTED, username: 'device-7' }],
      [
        json({ result: 'allow', subscribe: ['u/%u/#', 'c/%c'] }),
        { ...ACCEPTED, grants: { publish: [], subscribe: ['u/alice/#', 'c/client'] } },
      ],
      [json({ result: 'allow', expiresInSeconds: 1.5 }), { ...ACCEPTED, endsAtMs: clock.now() + 1_500 }],
    ];
    for (const [answer, expected] of cases) {
      service.answer = answer;
      assert.deepEqual(await ask(), expected);
    }
    service.answer = json({ result: 'allow' });
    assert.deepEqual(await ask({}), { ok: true, username: null, grants: null });
    assert.deepEqual(told, []);
  });

  it('lets nobody in by an answer that is not clear', async () => {
    const { ask, told } = make();
    const values: unknown[] = [
      ...[null, true, 'allow', ['allow'], {}, { result: 'ALLOW' }, { result: true }, { result: ['allow'] }],
      { result: 'allow', username: '' },
      { result: 'allow', username: null },
      { result: 'allow', username: 'a\nb' },
      { result: 'allow', username: 7 },
      { result: 'allow', publish: '#' },
      { result: 'allow', publish: ['a/#/b'] },
      { result: 'allow', subscribe: null },
      { result: 'allow', Subscribe: ['a'] },
      { result: 'allow', expiresInSeconds: 0 },
      { result: 'allow', expiresInSeconds: -1 },
      { result: 'allow', expiresInSeconds: '60' },
      { result: 'allow', expiresInSeconds: null },
    ];
    for (const value of values) {
      service.answer = json(value);
      assert.deepEqual(await ask(), UNAVAILABLE, JSON.stringify(value));
    }
    const texts = [
      '',
      'allow',
      '{"result":"allow"',
      '{"result":"allow","expiresInSeconds":1e999}',
      '{"result":"allow"}x',
    ];
    for (const text of texts) {
      service.answer = (_request, response) => response.end(text);
      assert.deepEqual(await ask(), UNAVAILABLE, text);
    }
    service.answer = (_request, response) =>
      response.end(Buffer.from('{"result":"allow","username":"\xff"}', 'latin1'));
    assert.deepEqual(await ask(), UNAVAILABLE);
    assert.equal(told.length, values.length + texts.length + 1);
    assert.ok(told.every((problem) => !problem.includes('right')));
  });

  it('lets nobody in with any status but 200, whatever the body says', async () => {
    const { ask, told } = make();
    for (const status of [201, 202, 204, 206, 300, 400, 401, 404, 429, 500, 503]) {
      service.answer = json({ result: 'allow' }, status);
      assert.deepEqual(await ask(), UNAVAILABLE, String(status));
    }
    assert.match(told[0], /^status 201 instead of 200 or 403$/);
  });

  it('is not followed elsewhere', async () => {
    const other = await startService();
    other.answer = json({ result: 'allow' });
    const { ask } = make();
    for (const status of [301, 302, 303, 307, 308]) {
      service.answer = (_request, response) =>
        response.writeHead(status, { location: other.url }).end('{"result":"allow"}');
      assert.deepEqual(await ask(), UNAVAILABLE, String(status));
    }
    assert.deepEqual(other.asked, []);
    await other.close();
  });

  it('is not read beyond the bound, also when a small answer unpacks to a large one', async () => {
    const { ask, told } = make({ timeoutSeconds: 30 });
    let written = 0;
    service.answer = (_request, response) => flood(response, (bytes) => (written += bytes));
    assert.deepEqual(await ask(), UNAVAILABLE);
    assert.ok(written < 50_000_000);
    service.answer = (_request, response) => {
      const bomb = gzipSync(`{"result":"allow"${' '.repeat(20_000_000)}}`);
      response.writeHead(200, { 'content-encoding': 'gzip' }).end(bomb);
    };
    assert.deepEqual(await ask(), UNAVAILABLE);
    service.answer = (_request, response) => {
      response.writeHead(200, { 'x-large': 'x'.repeat(100_000) }).end('{"result":"allow"}');
    };
    assert.deepEqual(await ask(), UNAVAILABLE);
    assert.match(told[0], /over 16384 bytes/);
    assert.match(told[1], /over 16384 bytes/);
  });

  it('is given up when it is silent, stops half way, breaks off, or is not there', async () => {
    const { ask, told } = make({ timeoutSeconds: 1 });
    const answers: Service['answer'][] = [
      () => {},
      (_request, response) => response.writeHead(200).write('{"result":'),
      (_request, response) => response.writeHead(200, { 'content-length': 100 }).end('{"result":"allow"}'),
      (_request, response) => response.socket!.destroy(),
      (_request, response) => response.socket!.end('nonsense\r\n\r\n'),
    ];
    for (const answer of answers) {
      service.answer = answer;
      assert.deepEqual(await ask(), UNAVAILABLE);
    }
    assert.deepEqual(told.slice(0, 2), ['no answer within 1000 ms', 'no answer within 1000 ms']);
    await service.close();
    assert.deepEqual(await ask(), UNAVAILABLE);
    assert.match(told.at(-1)!, /ECONNREFUSED/);
  });
});

/** Writes as long as somebody reads. */
function flood(response: ServerResponse, count: (bytes: number) => void): void {
  const chunk = Buffer.alloc(65_536, 0x20);
  const write = (): void => {
    while (!response.destroyed) {
      count(chunk.length);
      if (!response.write(chunk)) break;
    }
  };
  response.writeHead(200).on('drain', write);
  write();
}

/** Holds the answers back until they are let go. */
function holdAnswers(): { open: () => void; held: () => Promise<void> } {
  const waiting: (() => void)[] = [];
  let arrived: (() => void) | null = null;
  service.answer = (request, response) => {
    waiting.push(() => json({ result: 'allow' })(request, response));
    arrived?.();
  };
  return {
    held: async () => {
      if (waiting.length === 0) await new Promise<void>((resolve) => (arrived = resolve));
    },
    open: () => {
      service.answer = json({ result: 'allow' });
      for (const answer of waiting.splice(0)) answer();
    },
  };
}

describe('Many logins at once', () => {
  it('ask so many at a time, wait so many, and the rest are told that it is busy', async () => {
    const { ask } = make({ concurrencyMax: 1, waitingMax: 4, timeoutSeconds: 30 });
    const gate = holdAnswers();
    const { peer } = attempt();
    const at = (address: string): Promise<Verdict> => ask({ ...ALICE, peer: { ...peer, address } });
    const first = at('10.0.0.1');
    await gate.held();
    const waiting = ['10.0.0.2', '10.0.0.3', '10.0.0.4', '10.0.0.5'].map(at);
    assert.deepEqual(await at('10.0.0.6'), { ok: false, reason: 'busy' });
    assert.equal(service.asked.length, 1);
    gate.open();
    for (const verdict of await Promise.all([first, ...waiting])) assert.deepEqual(verdict, ACCEPTED);
    assert.equal(service.asked.length, 5);
  });

  it('are not asked about any more when the first of them have failed', async () => {
    const throttle = new LoginThrottle(clock, { ...DEFAULT_THROTTLE_LIMITS, addressFailuresMax: 3 });
    const login = new HttpAuthenticator({
      url: service.url,
      timeoutSeconds: 30,
      concurrencyMax: 1,
      cacheSeconds: 0,
      clock,
      placeOf: (given) => throttle.placeOf(given),
    });
    const guarded = throttle.guard(login);
    const burst = Array.from({ length: 20 }, () => guarded.authenticate(attempt(ALICE)));
    await Promise.all(burst);
    // The one under way, and the one begun before its failure was counted, come on top.
    assert.ok(service.asked.length <= 5, `${service.asked.length}`);
  });

  it('are not asked about any more when their turn comes too late', async () => {
    const { ask, told } = make({ concurrencyMax: 1, timeoutSeconds: 4 });
    const gate = holdAnswers();
    const first = ask();
    await gate.held();
    const second = ask();
    clock.advance(4_000);
    gate.open();
    assert.deepEqual(await first, ACCEPTED);
    assert.deepEqual(await second, UNAVAILABLE);
    assert.equal(service.asked.length, 1);
    assert.deepEqual(told, ['no turn in time: all requests before it were slow']);
  });
});

describe('Remembered logins', () => {
  it('need no service for a while, and are remembered by every part of the attempt', async () => {
    const { ask } = make({ cacheSeconds: 60 });
    service.answer = json({ result: 'allow', publish: ['a'] });
    const accepted = { ...ACCEPTED, grants: { publish: ['a'], subscribe: [] } };
    assert.deepEqual(await ask(), accepted);
    service.answer = json({ result: 'deny' });
    assert.deepEqual(await ask(), accepted);
    assert.equal(service.asked.length, 1);
    const { peer } = attempt();
    const others: Partial<Attempt>[] = [
      { password: Buffer.from('wrong') },
      { password: Buffer.from('right\0') },
      { username: 'alic', password: Buffer.from('eright') },
      { clientId: 'other' },
      { protocolVersion: 4 },
      { peer: { ...peer, address: '127.0.0.2' } },
      { peer: { ...peer, door: 'mqtt://127.0.0.1:1884' } },
      { peer: { ...peer, username: 'alice' } },
    ];
    for (const other of others) assert.deepEqual(await ask({ ...ALICE, ...other }), REFUSED);
    clock.advance(60_000);
    assert.deepEqual(await ask(), REFUSED);
  });

  it('are only those that were let in', async () => {
    const { ask } = make({ cacheSeconds: 60 });
    for (const answer of [
      json({ result: 'deny' }),
      json({ result: 'ignore' }),
      json({}, 403),
      json({}, 500),
    ]) {
      service.answer = answer;
      await ask();
    }
    service.answer = json({ result: 'allow' });
    assert.deepEqual(await ask(), ACCEPTED);
    assert.equal(service.asked.length, 5);
  });

  it('do not outlive the end that the service gave them', async () => {
    const { ask } = make({ cacheSeconds: 60 });
    service.answer = json({ result: 'allow', expiresInSeconds: 10 });
    const endsAtMs = clock.now() + 10_000;
    assert.deepEqual(await ask(), { ...ACCEPTED, endsAtMs });
    clock.advance(9_999);
    assert.deepEqual(await ask(), { ...ACCEPTED, endsAtMs });
    clock.advance(1);
    service.answer = json({ result: 'deny' });
    assert.deepEqual(await ask(), REFUSED);
  });

  it('are so many and take so much, the oldest making room', () => {
    const cache = new LoginCache(60, clock, 2);
    const verdict = { ok: true, username: 'a' } as const;
    for (const name of ['a', 'b', 'a', 'c']) cache.set(name, verdict, 10);
    assert.deepEqual(
      ['a', 'b', 'c'].map((name) => cache.get(name) !== undefined),
      [true, false, true],
    );
    cache.set('large', verdict, CACHE_BYTES_MAX - 5);
    assert.equal(cache.size, 1);
    cache.set('larger', verdict, CACHE_BYTES_MAX + 1);
    assert.equal(cache.size, 0);
  });
});

/** The HTTP service that makes tickets: for whom, and with what bounds. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type IncomingHttpHeaders, request } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, beforeEach, describe, it } from 'node:test';
import { makeTicketKeyFile, readTicketKeys, verifyTicket } from '../../auth/tickets/ticket.ts';
import { readEndpointToken, TicketEndpoint } from '../../auth/tickets/ticket-endpoint.ts';
import { serve } from '../../cli/serve.ts';
import { loadConfig } from '../../config/load.ts';
import { FakeClock } from '../support/fake-clock.ts';

const directory = mkdtempSync(join(tmpdir(), 'sluice-mint-'));
after(() => rmSync(directory, { recursive: true }));

function write(name: string, text: string, mode = 0o600): string {
  const path = join(directory, name);
  writeFileSync(path, text, { mode });
  return path;
}

const TOKEN = 'a token of thirty-two characters'.replaceAll(' ', '-');
const keyFile = write('key', makeTicketKeyFile());
const keys = readTicketKeys(keyFile);
const clock = new FakeClock();
const SCOPE = { user: 'dash', origin: 'https://dash.example.org', subscribe: ['plant/#'], seconds: 60 };

let endpoint: TicketEndpoint;
let base: string;
let told: string[];
beforeEach(async () => {
  told = [];
  endpoint = new TicketEndpoint({
    url: 'http://127.0.0.1:0',
    token: () => TOKEN,
    keys: () => keys,
    secondsMax: 3_600,
    wallNow: () => clock.wallNow(),
    onMinted: (user, origin, seconds) => told.push(`${user} ${origin} ${seconds}`),
  });
  base = await endpoint.listen();
});
afterEach(() => endpoint.close());

interface Answer {
  readonly status: number;
  readonly body: { ticket?: string; error?: string; expiresInSeconds?: number };
  readonly headers: IncomingHttpHeaders;
}

/** By hand, because `fetch` lets nobody choose Host. */
async function ask(
  body: string | object,
  headers: Record<string, string | undefined> = {},
  { method = 'POST', path = '/ticket' } = {},
): Promise<Answer> {
  const usual = { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' };
  const given = Object.entries({ ...usual, ...headers }).filter(([, value]) => value !== undefined);
  const sent = request(`${base}${path}`, {
    method,
    headers: Object.fromEntries(given) as Record<string, string>,
  });
  sent.on('error', () => {});
  sent.end(typeof body === 'string' ? body : JSON.stringify(body));
  const [response] = await once(sent, 'response');
  let text = '';
  for await (const chunk of response) text += chunk;
  return { status: response.statusCode, body: JSON.parse(text), headers: response.headers };
}

describe('The service that makes tickets', () => {
  it('makes what was asked for, for who has the token', async () => {
    const { status, body, headers } = await ask({ ...SCOPE, publish: ['a'], clientId: 'page' });
    assert.equal(status, 200);
    assert.equal(body.expiresInSeconds, 60);
    assert.equal(headers['cache-control'], 'no-store');
    const ticket = await verifyTicket(body.ticket!, keys, clock.wallNow());
    assert.deepEqual(ticket, {
      user: 'dash',
      origin: SCOPE.origin,
      clientId: 'page',
      publish: ['a'],
      subscribe: ['plant/#'],
      issuedAt: clock.wallNow() / 1_000,
      endsAt: clock.wallNow() / 1_000 + 60,
      keyId: keys[0].id,
    });
    assert.deepEqual(told, ['dash https://dash.example.org 60']);
  });

  it('makes nothing without exactly the token', async () => {
    const wrong = [
      undefined,
      '',
      'Bearer',
      'Bearer ',
      TOKEN,
      `Bearer ${TOKEN}x`,
      `Bearer ${TOKEN.slice(1)}`,
      `Basic ${TOKEN}`,
    ];
    for (const authorization of wrong) {
      const { status, body } = await ask(SCOPE, { authorization });
      assert.equal(status, 401, authorization);
      assert.equal(body.ticket, undefined);
    }
    assert.deepEqual(told, []);
  });

  it('makes nothing for a browser, whatever name it was led here by', async () => {
    assert.equal((await ask(SCOPE, { origin: 'http://127.0.0.1' })).status, 403);
    for (const host of ['evil.example.org', 'localhost.example.org', '127.0.0.1.example.org', '10.0.0.1'])
      assert.equal((await ask(SCOPE, { host })).status, 403, host);
    assert.equal((await ask(SCOPE, { host: 'localhost:1' })).status, 200);
  });

  it('takes one path, one method and one kind of body', async () => {
    assert.equal((await ask(SCOPE, {}, { path: '/' })).status, 404);
    assert.equal((await ask(SCOPE, {}, { path: '/ticket/../x' })).status, 404);
    assert.equal((await ask(SCOPE, {}, { method: 'PUT' })).status, 405);
    assert.equal((await ask(SCOPE, { 'content-type': 'text/plain' })).status, 415);
    assert.equal((await ask(SCOPE, { 'content-type': undefined })).status, 415);
    assert.equal((await ask('x'.repeat(40_000))).status, 413);
    const broken = [
      '',
      '{',
      'null',
      '[]',
      '7',
      '"x"',
      '{"user":"dash","admin":true}',
      '{"__proto__":{"user":"x"}}',
    ];
    for (const body of broken) assert.equal((await ask(body)).status, 400, body);
  });

  it('says what is wrong with a ticket that could not be used', async () => {
    const wrong: [object, RegExp][] = [
      [{ user: '' }, /^user: /],
      [{ user: 7 }, /^user and origin must be texts/],
      [{ origin: ['https://a'] }, /^user and origin must be texts/],
      [{ origin: 'https://a/' }, /^origin: /],
      [{ subscribe: 'plant/#' }, /^publish and subscribe must be lists/],
      [{ subscribe: [7] }, /^publish and subscribe must be lists/],
      [{ subscribe: ['a/#/b'] }, /^subscribe: /],
      [{ clientId: 7 }, /clientId/],
      [{ seconds: '60' }, /^seconds must be a number/],
      [{ seconds: 3_601 }, /^seconds: at most 3600/],
      [{ seconds: 0 }, /^seconds: 0 does not fit/],
    ];
    for (const [parts, message] of wrong) {
      const { status, body } = await ask({ ...SCOPE, ...parts });
      assert.equal(status, 400);
      assert.match(body.error!, message);
    }
    assert.deepEqual(told, []);
  });

  it('is not held up by those who send nothing, and closes on them', async () => {
    const { port } = new URL(base);
    const silent = Array.from({ length: 10 }, () => connect(Number(port), '127.0.0.1'));
    await Promise.all(silent.map((socket) => once(socket, 'connect')));
    assert.equal((await ask(SCOPE)).status, 200);
    const closed = silent.map((socket) =>
      once(
        socket.on('error', () => {}),
        'close',
      ),
    );
    await endpoint.close();
    await Promise.all(closed);
  });

  it('wants a token that cannot be guessed, in a file of its own', () => {
    assert.equal(readEndpointToken(write('token', `${TOKEN}\n`)), TOKEN);
    for (const text of ['', 'short', `${TOKEN}\n${TOKEN}`, `${TOKEN} x`])
      assert.throws(() => readEndpointToken(write('token', text)), /this is no token/);
    assert.throws(
      () => readEndpointToken(write('token-open', TOKEN, 0o644)),
      /mode 0644 opens the file to others/,
    );
  });

  it('runs with the broker, and ends with it', async () => {
    const text: string[] = [];
    const sink = { write: (line: string) => void text.push(line) };
    const flags = {
      listeners: 'ws://127.0.0.1:0',
      'auth.tickets.keyFile': keyFile,
      'auth.tickets.mintUrl': 'http://127.0.0.1:0',
      'auth.tickets.mintTokenFile': write('token-served', TOKEN),
      'persistence.enabled': 'false',
      'log.file': '',
    };
    const broker = await serve(loadConfig({ env: {}, flags }), { stdout: sink, stderr: sink });
    base = /"url":"(http:[^"]+)","event":"ticket_endpoint\.open"/.exec(text.join(''))![1];
    assert.equal((await ask(SCOPE)).status, 200);
    assert.equal((await ask({ ...SCOPE, seconds: 3_601 })).status, 400);
    await broker.close();
    const { port } = new URL(base);
    const [error] = await once(connect(Number(port), '127.0.0.1'), 'error');
    assert.equal(error.code, 'ECONNREFUSED');
    assert.match(text.join(''), /"event":"ticket\.minted"/);
    assert.ok(!text.join('').includes(TOKEN));
  });
});

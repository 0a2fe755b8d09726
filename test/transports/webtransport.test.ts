import assert from 'node:assert/strict';
import { copyFileSync } from 'node:fs';
import { after, describe, it } from 'node:test';
import type { WebTransportOptions as ClientOptions, WebTransport } from 'rwebtransport';
import { DoorUnavailable } from '../../src/errors.ts';
import type { Address, Wire, WireEvents } from '../../src/interfaces/transport.ts';
import { loadEngine } from '../../transports/webtransport/engine.ts';
import { type WebTransportOptions, WebTransportTransport } from '../../transports/webtransport.ts';
import { Http3Peer } from '../attack/harness/http3-peer.ts';
import { transportContract } from '../contract/transport.ts';
import type { OpenDoor } from '../contract/transport-stage.ts';
import { RecordedLog } from '../support/recorded-log.ts';
import { Certificates } from './certificates.ts';
import { openSession, webTransportClient } from './webtransport-client.ts';

const url = 'wt://127.0.0.1:0/mqtt';
const engine = 'rwebtransport';
const TIMEOUT = { timeout: 15_000 };
const certificates = await Certificates.create();
const tls = await certificates.issue('server');
after(() => certificates.remove());

const openDoor: OpenDoor = (onError, doorkeeper) => ({
  transport: new WebTransportTransport({ url, tls, engine, onError, doorkeeper }),
  secure: true,
  abortIsError: true,
  dial: (address) => webTransportClient(address.url, tls.cert),
});
transportContract('webtransport', openDoor, 'apart');

const idle: WireEvents = { data() {}, drain() {}, closed() {} };

/** A door that echoes what it hears, with what it was told of errors. */
async function withDoor(
  options: Partial<WebTransportOptions>,
  use: (address: Address, door: WebTransportTransport, errors: string[]) => Promise<void>,
  accept = (wire: Wire): WireEvents => ({ ...idle, data: (chunk) => void wire.write(Buffer.from(chunk)) }),
): Promise<void> {
  const errors: string[] = [];
  const onError = (error: Error) => void errors.push(error.message);
  const door = new WebTransportTransport({ url, tls, engine, onError, ...options });
  const address = await door.listen(accept);
  try {
    await use(address, door, errors);
  } finally {
    await door.close(0);
  }
}

function open(address: string, options?: ClientOptions): Promise<WebTransport> {
  return openSession(address, tls.cert, options);
}

/** How a session that was opened so ends. */
async function closeCode(address: string, options?: ClientOptions): Promise<number> {
  const session = await open(address, options);
  return (await session.closed).closeCode;
}

/** Sends `text` over a new stream and resolves with as much of an answer. */
async function echo(session: WebTransport, text: string): Promise<string> {
  const stream = await session.createBidirectionalStream();
  await stream.writable.getWriter().write(Buffer.from(text));
  const reader = stream.readable.getReader();
  let heard = '';
  while (heard.length < text.length) {
    const { done, value } = await reader.read();
    if (done) break;
    heard += Buffer.from(value).toString();
  }
  return heard;
}

describe('the WebTransport door', () => {
  it(
    'chooses mqtt among the protocols offered, and takes a client that offers none or others',
    TIMEOUT,
    async () => {
      await withDoor({}, async ({ url }) => {
        for (const [protocols, chosen] of [
          [['mqtt'], 'mqtt'],
          [['chat', 'mqtt'], 'mqtt'],
          [['chat'], ''],
          [[], ''],
        ] as const) {
          const session = await open(url, { protocols: [...protocols] });
          assert.equal(session.protocol, chosen);
          assert.equal(await echo(session, 'hello'), 'hello');
          session.close();
        }
      });
    },
  );

  it('outlives clients whose network is gone, or who break the rules of QUIC', TIMEOUT, async () => {
    const ends: (string | undefined)[] = [];
    const accept = (): WireEvents => ({ ...idle, closed: (error) => void ends.push(error?.message) });
    const use = async ({ url, port }: Address) => {
      const gone = await Http3Peer.session(port, { configure: (config) => config.setMaxIdleTimeout(300) });
      gone.stream();
      const wild = await Http3Peer.session(port, { logsKeys: true });
      wild.stream();
      await echoed(url);
      gone.quic.vanish();
      // NEW_CONNECTION_ID with an id that is to be retired by itself.
      wild.quic.inject(Buffer.concat([Buffer.from([0x18, 2, 9, 16]), Buffer.alloc(32)]));
      while (ends.length < 2) await echoed(url);
      wild.quic.vanish();
      assert.deepEqual(ends.sort(), ['connection closed by transport error 0x7', 'connection timed out']);
    };
    /** A client comes and goes. */
    const echoed = async (url: string) => {
      const session = await open(url);
      session.close();
      await session.closed;
    };
    await withDoor({}, use, accept);
  });

  it('serves one exact path, with any query', TIMEOUT, async () => {
    await withDoor({}, async ({ url }, _door, errors) => {
      assert.equal(await echo(await open(`${url}?token=1`), 'hello'), 'hello');
      for (const wrong of ['x', '/', '/..']) assert.equal(await closeCode(url + wrong), 404);
      assert.equal(await closeCode(url.replace('/mqtt', '/')), 404);
      assert.equal(errors.length, 4);
      assert.match(errors[0], /refused with 404 \(path \/mqttx/);
    });
  });

  it(
    'by default lets in pages of the same host name on any port, and clients without an origin',
    TIMEOUT,
    async () => {
      const origins: (string | undefined)[] = [];
      const accept = (wire: Wire) => {
        origins.push(wire.peer.origin);
        return { ...idle, data: (chunk: Buffer) => void wire.write(Buffer.from(chunk)) };
      };
      const use = async ({ url }: Address) => {
        assert.equal(await echo(await open(url), 'hello'), 'hello');
        assert.equal(await echo(await open(url, { origin: 'http://127.0.0.1:3000' }), 'hello'), 'hello');
        for (const origin of ['https://evil.example', 'null', 'http://127.0.0.1.evil.example']) {
          assert.equal(await closeCode(url, { origin }), 403, origin);
        }
      };
      await withDoor({}, use, accept);
      assert.deepEqual(origins, [undefined, 'http://127.0.0.1:3000']);
    },
  );

  it('compares listed origins by scheme, host and port', TIMEOUT, async () => {
    await withDoor({ origins: ['https://dash.example.com'] }, async ({ url }) => {
      assert.equal(await echo(await open(url, { origin: 'https://dash.example.com:443' }), 'hello'), 'hello');
      for (const origin of ['http://dash.example.com', 'https://dash.example.com:8443', 'http://127.0.0.1']) {
        assert.equal(await closeCode(url, { origin }), 403, origin);
      }
    });
    await withDoor({ origins: ['*'] }, async ({ url }) => {
      assert.equal(await echo(await open(url, { origin: 'https://anywhere.example' }), 'hello'), 'hello');
    });
  });

  it('carries MQTT on the first stream alone: others end, and the first goes on', TIMEOUT, async () => {
    await withDoor({}, async ({ url }) => {
      const session = await open(url);
      const first = await session.createBidirectionalStream();
      const writer = first.writable.getWriter();
      const reader = first.readable.getReader();
      await writer.write(Buffer.from('one'));
      assert.equal(Buffer.from((await reader.read()).value!).toString(), 'one');
      const second = await session.createBidirectionalStream();
      await assert.rejects(second.readable.getReader().read());
      await session.createUnidirectionalStream();
      await session.datagrams.writable.getWriter().write(Buffer.from('lost'));
      await writer.write(Buffer.from('two'));
      assert.equal(Buffer.from((await reader.read()).value!).toString(), 'two');
      session.close();
    });
  });

  it('closes a session that goes on with what carries no MQTT, with Protocol Error', TIMEOUT, async () => {
    let error: Error | undefined;
    const accept = () => ({ ...idle, closed: (reason?: Error) => (error = reason) });
    const use = async ({ url }: Address) => {
      const session = await open(url);
      await session.createBidirectionalStream();
      for (let n = 0; n < 16; n++) await session.createUnidirectionalStream();
      assert.equal((await session.closed).closeCode, 0x82);
    };
    await withDoor({}, use, accept);
    assert.match(error?.message ?? '', /unidirectional streams/);
  });

  it('closes a session without a stream when its time is over', TIMEOUT, async () => {
    await withDoor({ streamTimeoutMs: 20 }, async ({ url }, _door, errors) => {
      assert.equal(await closeCode(url), 0x80);
      assert.match(errors[0], /no stream within 20 ms/);
    });
  });

  it('holds no more sessions than it may, and has room again when one is gone', TIMEOUT, async () => {
    await withDoor({ sessionsMax: 1 }, async ({ url }) => {
      const first = await open(url);
      assert.equal(await echo(first, 'hello'), 'hello');
      assert.equal(await closeCode(url), 0);
      first.close();
      // The server hears of it some round trips later.
      for (;;) {
        const heard = await echo(await open(url), 'again').catch(() => '');
        if (heard === 'again') break;
      }
    });
  });

  for (const [reasonCode, expected] of [
    [undefined, 0],
    [0x00, 0],
    [0x8b, 0x8b],
    [0x8e, 0x8e],
  ] as const) {
    it(
      `closes the session with ${expected} for the reason ${reasonCode}, behind the last byte`,
      TIMEOUT,
      async () => {
        const accept = (wire: Wire) => ({
          ...idle,
          data: () => {
            wire.write(Buffer.from('bye'));
            wire.end(reasonCode);
          },
        });
        const use = async ({ url }: Address) => {
          const session = await open(url);
          const stream = await session.createBidirectionalStream();
          const writer = stream.writable.getWriter();
          await writer.write(Buffer.from('x'));
          const reader = stream.readable.getReader();
          assert.equal(Buffer.from((await reader.read()).value!).toString(), 'bye');
          assert.ok((await reader.read()).done);
          await writer.close();
          assert.equal((await session.closed).closeCode, expected);
        };
        await withDoor({}, use, accept);
      },
    );
  }

  it('tells the core the code when a client closes its session with one', TIMEOUT, async () => {
    let heard: (error?: Error) => void = () => {};
    const closed = new Promise<Error | undefined>((resolve) => {
      heard = resolve;
    });
    const use = async ({ url }: Address) => {
      const session = await open(url);
      await session.createBidirectionalStream();
      session.close({ closeCode: 7 });
      assert.match((await closed)?.message ?? '', /with code 7/);
    };
    await withDoor({}, use, () => ({ ...idle, closed: (error) => heard(error) }));
  });

  for (const way of ['resume', 'end', 'abort'] as const) {
    it(`tells a core that had paused of a closed session when it goes on with ${way}`, TIMEOUT, async () => {
      let wire: Wire | undefined;
      let heard: (error?: Error) => void = () => {};
      const closed = new Promise<Error | undefined>((resolve) => {
        heard = resolve;
      });
      const accept = (accepted: Wire): WireEvents => {
        wire = accepted;
        wire.pause();
        return { ...idle, closed: (error) => heard(error) };
      };
      await withDoor(
        {},
        async ({ url }) => {
          const session = await open(url);
          const stream = await session.createBidirectionalStream();
          await stream.writable.getWriter().write(Buffer.from('unread'));
          // It comes and goes while the first is being closed, so that the door has heard of that.
          session.close();
          await session.closed;
          const next = await open(url);
          next.close();
          await next.closed;
          wire?.[way]();
          assert.equal(await closed, undefined);
        },
        accept,
      );
    });
  }

  it('opens anew with the certificate that was put in place of the old one', TIMEOUT, async () => {
    const serving = await certificates.issue('serving');
    const next = await certificates.issue('next');
    let inForce: () => void = () => {};
    const changed = new Promise<void>((resolve) => {
      inForce = resolve;
    });
    const log = new RecordedLog();
    log.info = (event, fields) => {
      log.lines.push({ level: 'info', event, fields: { ...fields } });
      if (log.of('tls.loaded').length === 2) inForce();
    };
    await withDoor({ tls: serving, log }, async ({ url }, door) => {
      const before = await openSession(url, serving.cert);
      assert.equal(await echo(before, 'hello'), 'hello');
      door.reload();
      assert.equal(await echo(await openSession(url, serving.cert), 'still here'), 'still here');
      copyFileSync(next.key, serving.key);
      assert.throws(() => door.reload(), /does not belong/);
      copyFileSync(next.cert, serving.cert);
      door.reload();
      await Promise.all([before.closed, changed]);
      assert.equal(await echo(await openSession(url, next.cert), 'new'), 'new');
    });
  });

  it('says who has the port', TIMEOUT, async () => {
    await withDoor({}, async ({ port }) => {
      const second = new WebTransportTransport({ url: `wt://127.0.0.1:${port}/mqtt`, tls, engine });
      await assert.rejects(
        second.listen(() => idle),
        /already listens there/,
      );
    });
  });

  it('names what it tried when no engine loads, and takes the next where it may', TIMEOUT, async () => {
    const missing = () => Promise.reject(new Error('Cannot find package'));
    const loaders = { 'fails-components': missing, rwebtransport: missing };
    await assert.rejects(loadEngine(url, 'auto', loaders), (error: Error) => {
      assert.ok(error instanceof DoorUnavailable);
      assert.match(
        error.message,
        /fails-components: Cannot find package; rwebtransport: Cannot.*npm install/,
      );
      return true;
    });
    await assert.rejects(loadEngine(url, 'fails-components', loaders), DoorUnavailable);
    const fake = { name: 'rwebtransport', judgesRequests: false, serve: missing } as const;
    assert.equal(await loadEngine(url, 'auto', { ...loaders, rwebtransport: async () => fake }), fake);
  });

  it('refuses options that cannot be meant', () => {
    assert.throws(() => new WebTransportTransport({ url: 'ws://127.0.0.1', tls }), /scheme/);
    assert.throws(() => new WebTransportTransport({ url, tls, origins: ['dash'] }), /is not an origin/);
  });
});

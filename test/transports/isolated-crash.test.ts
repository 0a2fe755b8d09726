/** What an engine in a process of its own can do wrong, and that it is the only one to suffer from it. */
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { ConfigError, DoorUnavailable } from '../../src/errors.ts';
import { type IsolatedOptions, IsolatedTransport } from '../../transports/isolated.ts';
import { Certificates } from './certificates.ts';
import { EchoStage, writeEntry } from './isolated-stage.ts';

const TIMEOUT = { timeout: 30_000 };
const QUIC = 'quic://127.0.0.1:0';
const certificates = await Certificates.create();
const tls = await certificates.issue('server');
const directory = mkdtempSync(join(tmpdir(), 'sluice-engine-'));
after(() => {
  certificates.remove();
  rmSync(directory, { recursive: true });
});

async function withStage(
  options: Partial<IsolatedOptions>,
  use: (stage: EchoStage) => Promise<void>,
): Promise<void> {
  const stage = new EchoStage(certificates, { url: QUIC, tls, ...options });
  try {
    await use(await stage.listen());
  } finally {
    await stage.close();
  }
}

describe('an engine in a process of its own', () => {
  for (const [url, signal] of [
    [QUIC, 'SIGSEGV'],
    ['wt://127.0.0.1:0/mqtt', 'SIGKILL'],
  ] as const) {
    it(`that dies of ${signal} ends the wires of ${url}, and is back at the same port`, TIMEOUT, async () => {
      await withStage({ url }, async (stage) => {
        await stage.echo();
        const before = stage.door.statistics;
        assert.equal(before.wires, 1);
        assert.equal(before.crashes, 0);
        process.kill(before.pid!, signal);
        assert.match(
          (await stage.wires[0].closed)?.message ?? '',
          new RegExp(`engine of .* died of ${signal}`),
        );
        assert.deepEqual(
          stage.keeper.visits.map(({ lefts }) => lefts),
          [1],
        );
        await stage.log.until('door.engine_back');
        const [{ level, fields }] = stage.log.of('door.engine_crashed');
        assert.equal(level, 'error');
        assert.deepEqual([fields.door, fields.signal, fields.clients, fields.crashes], [url, signal, 1, 1]);
        await stage.echo();
        const { pid, crashes } = stage.door.statistics;
        assert.notEqual(pid, before.pid);
        assert.equal(crashes, 1);
        assert.equal(stage.wires[1].wire.peer.door, url);
      });
    });
  }

  it('that is wedged is noticed, killed and replaced', TIMEOUT, async () => {
    await withStage({ times: { pingMs: 50, pingsUnansweredMax: 20 } }, async (stage) => {
      await stage.echo();
      process.kill(stage.door.statistics.pid!, 'SIGSTOP');
      assert.match((await stage.wires[0].closed)?.message ?? '', /no sign of life to 20 pings/);
      await stage.log.until('door.engine_back');
      await stage.echo();
    });
  });

  it('that takes more memory than it may is replaced', TIMEOUT, async () => {
    await withStage({ times: { pingMs: 10 }, memoryMaxBytes: 1 }, async (stage) => {
      await stage.log.until('door.engine_crashed');
      assert.match(
        String(stage.log.of('door.engine_crashed')[0].fields.problem),
        /took \d{7,} bytes of memory/,
      );
    });
  });

  it('can neither write files nor start programs from its JavaScript', TIMEOUT, async () => {
    const file = join(directory, 'written');
    const start = `const told = [];
      for (const attempt of [
        () => writeFileSync(${JSON.stringify(file)}, ''),
        () => spawnSync('true'),
        () => new Worker('', { eval: true }),
      ]) {
        try { attempt(); told.push('done'); } catch (error) { told.push(error.code); }
      }
      link.json(FRAME.bound, 0, { port: 1 });
      link.json(FRAME.log, 0, { level: 'info', event: 'told', fields: { told } });`;
    const imports = `import { writeFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { Worker } from 'node:worker_threads';`;
    await withStage({ entry: writeEntry(directory, 'curious', start, imports) }, async (stage) => {
      await stage.log.until('told');
      assert.deepEqual(stage.log.of('told')[0].fields.told, Array(3).fill('ERR_ACCESS_DENIED'));
      assert.ok(!existsSync(file));
    });
  });

  it(
    'that dies again and again is started later and later, and its last words are told',
    TIMEOUT,
    async () => {
      const entry = writeEntry(
        directory,
        'loop',
        `link.json(FRAME.bound, 0, { port: 1 }); link.flush(); console.error('out of luck'); process.abort();`,
      );
      await withStage({ entry, restartMs: 1 }, async (stage) => {
        await stage.log.until('door.engine_crashed', 4);
        const lines = stage.log.of('door.engine_crashed').slice(0, 4);
        assert.deepEqual(
          lines.map(({ fields }) => [fields.crashes, fields.restartMs]),
          [
            [1, 1],
            [2, 2],
            [3, 4],
            [4, 8],
          ],
        );
        for (const { fields } of lines) {
          assert.match(String(fields.lastWords), /out of luck/);
          assert.equal(fields.signal, 'SIGABRT');
        }
      });
    },
  );

  it('that cannot bind its port again is tried again, until it can', TIMEOUT, async () => {
    // Long enough for the port to be taken first.
    await withStage({ restartMs: 500 }, async (stage) => {
      process.kill(stage.door.statistics.pid!, 'SIGKILL');
      await stage.log.until('door.engine_crashed');
      const thief = createSocket('udp4').bind(stage.address.port, '127.0.0.1');
      await once(thief, 'listening');
      await stage.log.until('door.engine_failed');
      const [{ fields }] = stage.log.of('door.engine_failed');
      assert.match(String(fields.problem), /already listens there/);
      assert.equal(fields.restartMs, 1_000);
      thief.close();
      await stage.log.until('door.engine_back');
      await stage.echo();
    });
  });

  for (const [what, start, expected] of [
    ['a frame of an unknown type', `link.frame(99);`, /cannot be read \(type 99\)/],
    [
      'a frame that is too long',
      `link.flush(); socket.write(Buffer.alloc(8, 255));`,
      /longer than any may be/,
    ],
    ['what is no JSON', `link.frame(FRAME.log, 0, Buffer.from('{'));`, /cannot be read/],
    [
      'a visit twice',
      `link.frame(FRAME.knock, 1, Buffer.from('192.0.2.1')); link.frame(FRAME.knock, 1, Buffer.from('192.0.2.1'));`,
      /a visit twice/,
    ],
  ] as const) {
    it(`that sends ${what} is killed for it`, TIMEOUT, async () => {
      const entry = writeEntry(
        directory,
        what.replaceAll(' ', '-'),
        `link.json(FRAME.bound, 0, { port: 1 }); ${start}`,
      );
      await withStage({ entry }, async (stage) => {
        await stage.log.until('door.engine_crashed');
        assert.match(String(stage.log.of('door.engine_crashed')[0].fields.problem), expected);
        assert.ok(stage.keeper.visits.every(({ lefts }) => lefts === 1));
      });
    });
  }

  it('that sends more of a stream than the core has asked for is killed for it', TIMEOUT, async () => {
    const start = `link.json(FRAME.bound, 0, { port: 1 });
      link.frame(FRAME.knock, 1, Buffer.from('192.0.2.1'));
      link.json(FRAME.open, 2, { visit: 1, port: 7 });
      for (let n = 0; n < 40; n++) link.data(2, Buffer.alloc(65536));`;
    const entry = writeEntry(directory, 'flood', start);
    const stage = new EchoStage(certificates, { url: QUIC, tls, entry });
    const heldBytes: number[] = [];
    await stage.door.listen((wire) => {
      wire.pause();
      return { data: ({ length }) => void heldBytes.push(length), drain() {}, closed() {} };
    });
    await stage.log.until('door.engine_crashed');
    assert.match(
      String(stage.log.of('door.engine_crashed')[0].fields.problem),
      /more of a stream than it may/,
    );
    assert.equal(heldBytes.length, 0);
    await stage.close();
  });

  it('that sends frames at random never does more than die of it', TIMEOUT, async () => {
    for (let seed = 1; seed <= 10; seed++) {
      const start = `let state = ${seed};
        const next = (below) => {
          state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
          return (state >>> 8) % below;
        };
        const types = [2, 30, 32, 33, 34, 35, 36, 37, 38];
        const values = [null, -1, 1e9, '', 'error', {}, [], true, 1, 2, 3];
        const keys = ['visit', 'port', 'username', 'origin', 'kind', 'message', 'where', 'remedy', 'level', 'event', 'fields', '__proto__'];
        link.json(FRAME.bound, 0, { port: 1 });
        link.frame(FRAME.knock, 1, Buffer.from('192.0.2.1'));
        link.json(FRAME.open, 2, { visit: 1, port: 7 });
        for (let n = 0; n < 200; n++) {
          const type = types[next(types.length)];
          const id = next(6);
          if (next(40) === 0) link.frame(type, id, Buffer.alloc(next(20), next(256)));
          else if (type === 2 || type === 32) link.frame(type, id, Buffer.alloc(type === 2 ? 4 : 8, next(60)));
          else if (type === 33) link.frame(type, 100 + n, Buffer.from('192.0.2.' + n));
          else {
            const message = { visit: 100 + next(n + 1), port: 7, kind: 'error', message: 'x', event: 'noise', level: 'debug' };
            if (next(8) === 0) message[keys[next(keys.length)]] = values[next(values.length)];
            link.json(type, 200 + n, message);
          }
          if (next(5) === 0) link.data(2, Buffer.alloc(next(3000)));
        }
        link.flush();
        socket.end(Buffer.alloc(next(8), 7));`;
      const entry = writeEntry(directory, `random-${seed}`, start);
      await withStage({ entry, restartMs: 60_000 }, async (stage) => {
        await stage.log.until('door.engine_crashed');
        for (const { closed } of stage.wires) await closed;
        assert.ok(stage.keeper.visits.every(({ lefts }) => lefts === 1));
      });
    }
  });

  it('that opens a stream for somebody who was turned away is told to cut it off', TIMEOUT, async () => {
    const start = `link.json(FRAME.bound, 0, { port: 1 });
      link.frame(FRAME.knock, 1, Buffer.from('192.0.2.1'));
      link.json(FRAME.open, 2, { visit: 1, port: 7 });
      link.json(FRAME.open, 3, { visit: 9, port: 7 });
    } else if (type === FRAME.abort) {
      link.json(FRAME.log, 0, { level: 'info', event: 'cut', fields: {} });`;
    const stage = new EchoStage(certificates, {
      url: QUIC,
      tls,
      entry: writeEntry(directory, 'refused', start),
    });
    stage.keeper.admits = () => false;
    await stage.listen();
    await stage.log.until('cut', 2);
    assert.equal(stage.wires.length, 0);
    await stage.close();
  });
});

describe('an engine that does not come up', () => {
  const listen = (options: Partial<IsolatedOptions>): Promise<unknown> =>
    new IsolatedTransport({ url: QUIC, tls, ...options }).listen(() => assert.fail('nobody comes'));

  it('because it crashes is no reason for the other doors to stay shut', TIMEOUT, async () => {
    const entry = writeEntry(directory, 'stillborn', `console.error('bad cpu'); process.abort();`);
    await assert.rejects(listen({ entry }), (error: Error) => {
      assert.ok(error instanceof DoorUnavailable);
      assert.match(error.message, /died of SIGABRT, before the door was open.*bad cpu/s);
      return true;
    });
  });

  it('because it cannot be started says so', TIMEOUT, async (t) => {
    const { execPath } = process;
    t.after(() => {
      process.execPath = execPath;
    });
    process.execPath = join(directory, 'no-node');
    await assert.rejects(listen({}), /could not be started \(spawn .*no-node ENOENT\)/);
  });

  it(
    'because the port is taken or the key is missing says so as it does in the broker',
    TIMEOUT,
    async () => {
      await withStage({}, async ({ address }) => {
        await assert.rejects(listen({ url: `quic://127.0.0.1:${address.port}` }), (error: Error) => {
          assert.ok(error instanceof ConfigError && !(error instanceof DoorUnavailable));
          assert.match(error.message, /^quic:.*: another process already listens there\. Stop that process/);
          return true;
        });
      });
      await assert.rejects(listen({ tls: { ...tls, key: join(directory, 'none.key') } }), /none\.key/);
    },
  );

  it('because its options cannot be meant is found before anything is started', () => {
    assert.throws(() => new IsolatedTransport({ url: 'quic://127.0.0.1/x', tls }), /has no path/);
    assert.throws(() => new IsolatedTransport({ url: 'mqtt://127.0.0.1', tls }), /scheme/);
  });
});

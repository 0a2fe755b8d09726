/** `sluice ticket`: the key file, and tickets a broker takes. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt';
import { type TicketFlags, ticketCommand } from '../../cli/commands/ticket.ts';
import { serve } from '../../cli/serve.ts';
import { loadConfig } from '../../config/load.ts';

const directory = mkdtempSync(join(tmpdir(), 'sluice-cli-ticket-'));
after(() => rmSync(directory, { recursive: true }));

const keyFile = join(directory, 'ticket.key');
const ORIGIN = 'https://dash.example.org';
const SCOPE: TicketFlags = { keyFile, user: 'dash', origin: ORIGIN, subscribe: ['plant/#'], seconds: 60 };

const run = (flags: TicketFlags, env: Record<string, string> = {}): Promise<string> =>
  ticketCommand(flags, env);

describe('sluice ticket', () => {
  it('makes a key file for its owner alone, once', async () => {
    assert.match(await run({ init: true, keyFile, seconds: 300 }), /^Made .*ticket\.key/);
    assert.equal(statSync(keyFile).mode & 0o777, 0o600);
    const before = readFileSync(keyFile, 'utf8');
    await assert.rejects(run({ init: true, keyFile, seconds: 300 }), /there is a file already/);
    assert.equal(readFileSync(keyFile, 'utf8'), before);
    await assert.rejects(run({ init: true, keyFile: join(directory, 'no', 'key'), seconds: 300 }), /ENOENT/);
  });

  it('finds the key file by flag, variable or configuration', async () => {
    const { keyFile: _, ...rest } = SCOPE;
    assert.match(await run(rest, { SLUICE_AUTH_TICKETS_KEY_FILE: keyFile }), /^[\w-]+\.[\w-]+\.[\w-]+\n$/);
    const config = join(directory, 'sluice.yaml');
    writeFileSync(
      config,
      `listeners: [{ url: "ws://127.0.0.1:0" }]\nauth: { tickets: { keyFile: "${keyFile}", secondsMax: 60 } }\n`,
    );
    assert.match(await run({ ...rest, config }), /^[\w-]+\.[\w-]+\.[\w-]+\n$/);
    await assert.rejects(
      run({ ...rest, config, seconds: 61 }),
      /--seconds: 61 is over auth\.tickets\.secondsMax/,
    );
    await assert.rejects(run(rest), /key file: none is named/);
  });

  it('says what is missing', async () => {
    const without = (name: 'user' | 'origin'): Promise<string> =>
      run(
        Object.fromEntries(Object.entries(SCOPE).filter(([key]) => key !== name)) as unknown as TicketFlags,
      );
    await assert.rejects(without('user'), /--user: missing/);
    await assert.rejects(without('origin'), /--origin: missing/);
    await assert.rejects(run({ ...SCOPE, keyFile: join(directory, 'none') }), /the file does not exist/);
  });

  it('makes tickets that a broker takes from a page of the origin, for its topics, until they end', async () => {
    if (!existsSync(keyFile)) await run({ init: true, keyFile, seconds: 300 });
    const text: string[] = [];
    const sink = { write: (line: string) => void text.push(line) };
    const config = loadConfig({
      env: {},
      flags: {
        listeners: '[{ url: "ws://127.0.0.1:0", origins: ["*"] }]',
        'log.file': '',
        'auth.tickets.keyFile': keyFile,
        'persistence.enabled': 'false',
      },
    });
    assert.equal(config.auth.allowAnonymous, false);
    const broker = await serve(config, { stdout: sink, stderr: sink });
    try {
      const [{ url }] = broker.addresses;
      const connect = (password: string, origin: string): Promise<MqttClient> => {
        const options: IClientOptions = {
          username: 'dash',
          password,
          protocolVersion: 5,
          reconnectPeriod: 0,
          wsOptions: { headers: { origin } },
        };
        return mqtt.connectAsync(url, options, false);
      };
      const ticket = (await run({ ...SCOPE, seconds: 2 })).trim();
      await assert.rejects(connect(ticket, 'https://evil.example.org'), { code: 0x86 });
      const page = await connect(ticket, ORIGIN);
      const ended = new Promise<number | undefined>((resolve) => {
        page.once('disconnect', ({ reasonCode }) => resolve(reasonCode));
      });
      assert.equal((await page.subscribeAsync('plant/#'))[0].qos, 0);
      await assert.rejects(page.subscribeAsync('other'), /0x87|Not authorized|135/i);
      await assert.rejects(page.publishAsync('plant/a', 'x', { qos: 1 }), { code: 0x87 });
      assert.equal(await ended, 0xa0);
      await page.endAsync(true);
      await assert.rejects(connect(ticket, ORIGIN), { code: 0x86 });
    } finally {
      await broker.close();
    }
    assert.match(text.join(''), /"event":"ticket\.refused"/);
  });
});

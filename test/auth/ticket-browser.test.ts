/** Tickets where they are meant for: a page in headless Chromium, which sends its own Origin and cannot send another. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { makeTicketKeyFile, mintTicket, readTicketKeys } from '../../auth/tickets/ticket.ts';
import { type Running, serve } from '../../cli/serve.ts';
import { loadConfig } from '../../config/load.ts';
import { PageStage, runInPage } from '../support/page-stage.ts';
import { needs } from '../tools/needs.ts';

/** Runs in the page: connects, subscribes to what it may, and tells what came of it and how it ended. */
const VISIT = `async ({ url, password }) => {
  let client;
  try {
    client = await mqtt.connectAsync(url, { protocolVersion: 5, username: 'dash', password, reconnectPeriod: 0 }, false);
  } catch (error) {
    return [error.code];
  }
  const ended = new Promise((resolve) => client.once('disconnect', (packet) => resolve(packet.reasonCode)));
  const [granted] = await client.subscribeAsync('plant/#');
  const refused = await client.subscribeAsync('other').catch(() => 'refused');
  return [granted.qos, refused, await ended];
}`;

describe('A ticket in a page in Chromium', { skip: needs('chromium') }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-ticket-page-'));
  const keyFile = join(directory, 'ticket.key');
  let broker: Running;
  let stage: PageStage;

  before(async () => {
    writeFileSync(keyFile, makeTicketKeyFile(), { mode: 0o600 });
    const flags = {
      listeners: '[{ url: "ws://127.0.0.1:0/mqtt", origins: ["*"] }]',
      'auth.tickets.keyFile': keyFile,
      'persistence.enabled': 'false',
      'log.file': '',
    };
    const sink = { write: () => {} };
    broker = await serve(loadConfig({ env: {}, flags }), { stdout: sink, stderr: sink });
    stage = await PageStage.open();
  });
  after(async () => {
    await stage?.close();
    await broker?.close();
    rmSync(directory, { recursive: true });
  });

  it('lets that page in for its topics until it ends, and no page of another origin', async () => {
    const mint = (origin: string): Promise<string> =>
      mintTicket({ keys: readTicketKeys(keyFile), user: 'dash', origin, subscribe: ['plant/#'], seconds: 3 });
    const page = await stage.page('localhost');
    const [{ url }] = broker.addresses;
    const visit = (password: string): Promise<unknown> => runInPage(page, VISIT, { url, password });
    // The same server under its other name is another origin.
    assert.deepEqual(await visit(await mint(`http://127.0.0.1:${stage.port}`)), [0x86]);
    assert.deepEqual(await visit(await mint(`http://localhost:${stage.port}`)), [0, 'refused', 0xa0]);
    await page.close();
  });
});

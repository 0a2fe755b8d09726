/** Tickets where they are meant for: a page in headless Chromium, which sends its own Origin and cannot send another. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { type Browser, chromium } from 'playwright-core';
import { makeTicketKeyFile, mintTicket, readTicketKeys } from '../../auth/tickets/ticket.ts';
import { type Running, serve } from '../../cli/serve.ts';
import { loadConfig } from '../../config/load.ts';
import { pathOf } from '../tools/apt.ts';
import { needs } from '../tools/needs.ts';

const BUNDLE = readFileSync(join(import.meta.dirname, '../../node_modules/mqtt/dist/mqtt.min.js'));
const PAGE = '<!doctype html><meta charset="utf-8"><title>dashboard</title><script src="/mqtt.js"></script>';

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
  let server: Server;
  let browser: Browser;
  let port: number;

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
    server = createServer((request, response) => {
      const isBundle = request.url === '/mqtt.js';
      response
        .setHeader('content-type', isBundle ? 'text/javascript' : 'text/html')
        .end(isBundle ? BUNDLE : PAGE);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    ({ port } = server.address() as AddressInfo);
    const args = ['--headless', '--no-sandbox', '--disable-gpu', '--no-first-run'];
    browser = await chromium.launch({ executablePath: pathOf('chromium')!, args });
  });
  after(async () => {
    await browser?.close();
    server?.close();
    await broker?.close();
    rmSync(directory, { recursive: true });
  });

  it('lets that page in for its topics until it ends, and no page of another origin', async () => {
    const mint = (origin: string): Promise<string> =>
      mintTicket({ keys: readTicketKeys(keyFile), user: 'dash', origin, subscribe: ['plant/#'], seconds: 3 });
    const page = await browser.newPage();
    const [{ url }] = broker.addresses;
    await page.goto(`http://localhost:${port}/`);
    const visit = (password: string): Promise<unknown> =>
      page.evaluate(`(${VISIT})(${JSON.stringify({ url, password })})`);
    // The same server under its other name is another origin.
    assert.deepEqual(await visit(await mint(`http://127.0.0.1:${port}`)), [0x86]);
    assert.deepEqual(await visit(await mint(`http://localhost:${port}`)), [0, 'refused', 0xa0]);
    await page.close();
  });
});

/** The example page as a stranger uses it: a certificate by its hash, a user and a password, in headless Chromium. And its server, as a foreigner would. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Browser, Page } from 'playwright-core';
import { makeBrowserCertificate } from '../../cli/certificates.ts';
import { serveExample } from '../../examples/webtransport/serve.ts';
import { type ChildBroker, startChildBroker } from '../support/child-broker.ts';
import { launchChromium } from '../support/page-stage.ts';
import { needs, skipUnless } from '../tools/needs.ts';
import { certificateHash } from '../transports/webtransport-client.ts';

const BUILT = path.join(import.meta.dirname, '../../dist/clients/webtransport');
const UNBUILT = 'nothing is built: npm run build';
const PASSWORD = 'secret word';
const originOf = (server: Server): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

describe('the example page in Chromium', {
  skip: needs('chromium') || skipUnless(existsSync(BUILT), UNBUILT),
  timeout: 60_000,
}, () => {
  let broker: ChildBroker;
  let server: Server;
  let browser: Browser;

  before(async () => {
    const doors = ['wt://127.0.0.1:0/mqtt', 'ws://127.0.0.1:0/mqtt'];
    broker = await startChildBroker({ doors, users: { alice: PASSWORD } });
    const certificateFile = path.join(broker.directory, 'certs', 'webtransport.pem');
    server = await serveExample({ port: 0, certificateFile });
    browser = await launchChromium();
  });
  after(async () => {
    await browser?.close();
    server?.close();
    await broker?.stop();
  });

  /** The page with the form filled in, and what went wrong in it. */
  async function fill(url: string, password = PASSWORD): Promise<{ page: Page; problems: string[] }> {
    const page = await browser.newPage();
    const problems: string[] = [];
    page.on('pageerror', (error) => problems.push(error.message));
    page.on('console', (message) => {
      if (/Content Security Policy/.test(message.text())) problems.push(message.text());
    });
    await page.goto(originOf(server));
    await page.fill('[name=url]', url);
    await page.fill('[name=fallbackUrl]', broker.url('ws'));
    await page.fill('[name=username]', 'alice');
    await page.fill('[name=password]', password);
    await page.click('#connect');
    return { page, problems };
  }

  test('connects over WebTransport, hears what it publishes as text, measures, and disconnects', async () => {
    const { page, problems } = await fill(broker.url('wt').replace('wt:', 'https:'));
    await page.waitForSelector('body[data-state=webtransport]');
    assert.equal(await page.textContent('#state-text'), 'Connected over WebTransport');
    await page.click('#subscribe button');
    await page.locator('#filters', { hasText: 'Subscribed to demo/#' }).waitFor();
    await page.fill('[name=payload]', '<b id="injected">hello</b>');
    await page.click('#publish button');
    await page.waitForSelector('#messages tr:not(.empty)');
    const cells = await page.locator('#messages td').allTextContents();
    assert.deepEqual(cells.slice(1), ['demo/page', '<b id="injected">hello</b>', '1']);
    assert.equal(await page.locator('#injected').count(), 0);
    await page.locator('#latency', { hasText: /^[0-9.]+ ms$/ }).waitFor();
    await page.click('#connect');
    await page.waitForSelector('body[data-state=offline]');
    assert.deepEqual(problems, []);
    await page.close();
  });

  test('says that it has fallen back, and why', async () => {
    const { page, problems } = await fill('https://127.0.0.1:1/mqtt');
    await page.waitForSelector('body[data-state=websocket]');
    assert.match((await page.textContent('#reason'))!, /^WebTransport to https:\/\/127\.0\.0\.1:1\/mqtt: /);
    assert.deepEqual(problems, []);
    await page.close();
  });

  test('says that the password is wrong, and lets another be given', async () => {
    const { page } = await fill(broker.url('wt').replace('wt:', 'https:'), 'wrong');
    await page.waitForSelector('#error:not([hidden])');
    assert.match((await page.textContent('#error'))!, /Not authorized|Bad user ?name/i);
    await page.fill('[name=password]', PASSWORD);
    await page.click('#connect');
    await page.waitForSelector('body[data-state=webtransport]');
    await page.close();
  });
});

describe('the server of the example page', {
  skip: skipUnless(existsSync(BUILT), UNBUILT),
}, () => {
  const directory = mkdtempSync(path.join(tmpdir(), 'sluice-example-'));
  const files = { cert: path.join(directory, 'wt.pem'), key: path.join(directory, 'wt.key') };
  let server: Server;
  before(async () => {
    server = await serveExample({ port: 0, certificateFile: files.cert });
  });
  after(() => {
    server?.close();
    rmSync(directory, { recursive: true });
  });

  test('tells the hash of the certificate as it is now, and what to do when there is none', async () => {
    const ask = async () => {
      const response = await fetch(`${originOf(server)}/certificate-hash.json`);
      const told = (await response.json()) as { hash?: string; error?: string };
      return { ...told, status: response.status, caching: response.headers.get('cache-control') };
    };
    const none = await ask();
    assert.equal(none.status, 503);
    assert.match(none.error!, /wt\.pem: .*sluice certs init --browser/);
    writeFileSync(files.cert, 'no certificate');
    assert.equal((await ask()).status, 503);
    for (let n = 0; n < 2; n++) {
      await makeBrowserCertificate(files, [{ type: 'ip', value: '127.0.0.1' }], Date.now());
      const hash = certificateHash(files.cert).toString('base64');
      const { status, caching, ...told } = await ask();
      assert.deepEqual([status, caching, told.hash], [200, 'no-store', hash]);
    }
  });

  /** What comes back for a request line that `fetch` would put in order. */
  function raw(requestLine: string): Promise<string> {
    return new Promise((resolve) => {
      const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
      let text = '';
      socket.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
      });
      socket.on('close', () => resolve(text));
      socket.end(`${requestLine} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
    });
  }

  test('serves its list of files and nothing else', async () => {
    assert.match(await raw('GET /'), /^HTTP\/1\.1 200 .*MQTT over WebTransport/s);
    const others = [
      '/../../../package.json',
      '/..%2f..%2fpackage.json',
      '/webtransport/../../package.json',
      '/serve.ts',
      '/sluice.yaml',
      '//etc/passwd',
      '/__proto__',
      '/constructor',
    ];
    for (const other of others) assert.match(await raw(`GET ${other}`), /^HTTP\/1\.1 40[04] /, other);
    assert.match(await raw('POST /'), /^HTTP\/1\.1 405 .*\r\nallow: GET, HEAD\r\n/s);
    assert.match(await raw('POST /certificate-hash.json'), /^HTTP\/1\.1 405 /);
    assert.match(await raw('HEAD /page.js'), /^HTTP\/1\.1 200 .*\r\n\r\n$/s);
  });

  test('is up after an address that is none', async () => {
    for (const line of ['GET http://[', 'GET ::', 'GET *']) await raw(line);
    assert.equal((await fetch(originOf(server))).status, 200);
  });
});

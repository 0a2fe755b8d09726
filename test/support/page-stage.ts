/** Pages in headless Chromium: a small server for the page under test, with MQTT.js's own bundle beside it, and the browser. */
import { createHash, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { type Browser, chromium, type Page } from 'playwright-core';
import { pathOf } from '../tools/apt.ts';

const BUNDLE = path.join(import.meta.dirname, '../../node_modules/mqtt/dist/mqtt.min.js');
const HEAD = '<!doctype html><meta charset="utf-8"><title>dashboard</title><script src="/mqtt.js"></script>';
const CHROMIUM_ARGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

export interface PageStageOptions {
  /** HTML behind the page's head, which loads MQTT.js as the global `mqtt`. */
  readonly html?: string;
  /** More that the server has, by path: its text, read anew for each request. */
  readonly files?: Readonly<Record<string, () => string>>;
  /** Certificates whose keys Chromium is to trust at WebSocket and HTTPS, as PEM files. */
  readonly trusted?: readonly string[];
}

export class PageStage {
  readonly browser: Browser;
  readonly port: number;
  readonly #server: Server;

  private constructor(browser: Browser, server: Server) {
    this.browser = browser;
    this.#server = server;
    this.port = (server.address() as AddressInfo).port;
  }

  static async open(options: PageStageOptions = {}): Promise<PageStage> {
    const files = new Map(Object.entries(options.files ?? {}));
    files.set('/', () => HEAD + (options.html ?? '')).set('/mqtt.js', () => readFileSync(BUNDLE, 'utf8'));
    const server = createServer((request, response) => {
      const text = files.get(request.url ?? '');
      const type = /\.js$/.test(request.url ?? '') ? 'text/javascript' : 'text/html';
      response.writeHead(text === undefined ? 404 : 200, { 'content-type': `${type}; charset=utf-8` });
      response.end(text?.());
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new PageStage(await launchChromium(options.trusted), server);
  }

  /** A page of its own. By another name of this machine it has another origin. */
  async page(host = '127.0.0.1'): Promise<Page> {
    const page = await this.browser.newPage();
    await page.goto(`http://${host}:${this.port}/`);
    return page;
  }

  async close(): Promise<void> {
    await this.browser.close();
    this.#server.close();
  }
}

/** @param trusted certificates whose keys it is to trust at WebSocket and HTTPS, as PEM files */
export function launchChromium(trusted: readonly string[] = []): Promise<Browser> {
  const pins = trusted.map(pinOf).join(',');
  return chromium.launch({
    executablePath: pathOf('chromium')!,
    args: [...CHROMIUM_ARGS, ...(pins === '' ? [] : [`--ignore-certificate-errors-spki-list=${pins}`])],
    // Playwright's own flags may come to hold it, and WebTransport is QUIC.
    ignoreDefaultArgs: ['--disable-quic'],
  });
}

/** Calls a function of the page, given as text because the page is another program, with what JSON can carry. */
export function runInPage<T>(page: Page, code: string, given: object): Promise<T> {
  return page.evaluate(`(${code})(${JSON.stringify(given)})`);
}

/** The pin by which Chromium trusts this one key and no other. */
function pinOf(certificateFile: string): string {
  const key = new X509Certificate(readFileSync(certificateFile)).publicKey;
  return createHash('sha256')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest('base64');
}

/**
 * Serves the example page on this machine: `npm run example -- [--port 8000] [--certificate certs/webtransport.pem]`.
 * Beside a fixed list of files it tells the hash by which the page trusts the broker's certificate, as it is at that moment.
 */
import { createHash, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { parseArgs } from 'node:util';

const HERE = import.meta.dirname;
const ROOT = path.join(HERE, '..', '..');
const ADAPTER = path.join(ROOT, 'dist', 'clients', 'webtransport');
const HOST = '127.0.0.1';
const DEFAULT_PORT = 8000;
const DEFAULT_CERTIFICATE = path.join('certs', 'webtransport.pem');
const CONNECTIONS_MAX = 100;

/** Everything there is. What is not named here is not served, whatever the address looks like. */
const FILES: Readonly<Record<string, string>> = {
  '/': path.join(HERE, 'index.html'),
  '/page.js': path.join(HERE, 'page.js'),
  '/style.css': path.join(HERE, 'style.css'),
  '/mqtt.js': path.join(ROOT, 'node_modules', 'mqtt', 'dist', 'mqtt.esm.js'),
  '/webtransport/index.js': path.join(ADAPTER, 'index.js'),
  '/webtransport/channel.js': path.join(ADAPTER, 'channel.js'),
  '/webtransport/mqtt-stream.js': path.join(ADAPTER, 'mqtt-stream.js'),
  '/webtransport/transport-choice.js': path.join(ADAPTER, 'transport-choice.js'),
  '/webtransport/webtransport-channel.js': path.join(ADAPTER, 'webtransport-channel.js'),
  '/webtransport/websocket-channel.js': path.join(ADAPTER, 'websocket-channel.js'),
};
const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
};
const HEADERS = {
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  // MQTT.js keeps its timers in a worker, so that they run in a tab that is not seen.
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' https: wss: ws:; worker-src blob:; " +
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
};

export interface ExampleOptions {
  /** 0 picks a free one. */
  readonly port: number;
  /** The broker's certificate, PEM; read anew for each request, because it is renewed every few days. */
  readonly certificateFile: string;
}

/**
 * Starts the server on 127.0.0.1.
 * @throws Error when a file of the page is missing (nothing is built), or the port is taken
 */
export async function serveExample({ port, certificateFile }: ExampleOptions): Promise<Server> {
  const files = new Map(Object.entries(FILES).map(([url, file]) => [url, { ...read(file) }]));
  const server = createServer((request, response) => {
    const pathname = (request.url ?? '').split('?', 1)[0];
    if (pathname === '/certificate-hash.json') answerHash(request, response, certificateFile);
    else answer(request, response, files.get(pathname));
  });
  server.maxConnections = CONNECTIONS_MAX;
  server.listen(port, HOST);
  await once(server, 'listening');
  return server;
}

interface Content {
  readonly type: string;
  readonly body: Buffer | string;
}

function read(file: string): Content {
  try {
    return { type: TYPES[path.extname(file)], body: readFileSync(file) };
  } catch (error) {
    throw new Error(`${(error as Error).message}. Build first: npm ci && npm run build`);
  }
}

function answer(
  { method }: IncomingMessage,
  response: ServerResponse,
  content: Content | undefined,
  status = 200,
): void {
  if (method !== 'GET' && method !== 'HEAD') {
    response.writeHead(405, { ...HEADERS, allow: 'GET, HEAD' }).end();
  } else if (content === undefined) {
    response.writeHead(404, HEADERS).end();
  } else {
    response.writeHead(status, { ...HEADERS, 'content-type': content.type });
    response.end(method === 'HEAD' ? undefined : content.body);
  }
}

function answerHash(request: IncomingMessage, response: ServerResponse, file: string): void {
  const type = 'application/json';
  try {
    const certificate = new X509Certificate(readFileSync(file));
    const hash = createHash('sha256').update(certificate.raw).digest('base64');
    const body = JSON.stringify({
      algorithm: 'sha-256',
      hash,
      validTo: certificate.validToDate.toISOString(),
    });
    answer(request, response, { type, body });
  } catch (error) {
    const remedy = 'Make it with "npx sluice certs init --browser", or name it with --certificate';
    const body = JSON.stringify({ error: `${file}: ${(error as Error).message}. ${remedy}` });
    answer(request, response, { type, body }, 503);
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      port: { type: 'string', default: String(DEFAULT_PORT) },
      certificate: { type: 'string', default: DEFAULT_CERTIFICATE },
    },
  });
  const port = Number(values.port);
  if (!Number.isInteger(port) || port < 0 || port > 65_535)
    throw new Error(`--port ${values.port}: give a whole number from 0 to 65535`);
  const server = await serveExample({ port, certificateFile: values.certificate });
  const address = server.address() as AddressInfo;
  process.stdout.write(`http://${HOST}:${address.port}/ (certificate hash from ${values.certificate})\n`);
}

if (import.meta.main) {
  main().catch((error: Error) => {
    process.stderr.write(`example: ${error.message}\n`);
    process.exitCode = 1;
  });
}

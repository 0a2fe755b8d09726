/** A small HTTP service that makes tickets, for the web server behind a dashboard. On loopback only, with a token of its own. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { ConfigError } from '../../src/errors.ts';
import { readGuardedFile } from '../files/guarded-file.ts';
import { type MintOptions, mintTicket } from './ticket.ts';
import type { TicketKeys } from './ticket-key.ts';

export interface TicketEndpointOptions {
  /** `http://127.0.0.1:8085`: a loopback address and a port, nothing behind it. */
  readonly url: string;
  /** What callers have to show, as it is now. */
  readonly token: () => string;
  /** The keys as they are now. */
  readonly keys: () => TicketKeys;
  /** Longest life of a ticket that is made. */
  readonly secondsMax: number;
  /** Wall-clock milliseconds since 1970. */
  readonly wallNow: () => number;
  readonly onMinted?: (user: string, origin: string, seconds: number) => void;
  readonly onRefused?: (problem: string) => void;
}

export const TICKET_PATH = '/ticket';

/** A hundred filters each way of usual length. */
const BODY_BYTES_MAX = 32_768;
const HEADER_BYTES_MAX = 8_192;
const HEADERS_MAX = 32;
const CONNECTIONS_MAX = 64;
const REQUEST_TIMEOUT_MS = 5_000;
const TOKEN_BYTES_MIN = 32;
const TOKEN_FILE_BYTES_MAX = 4_096;
const BODY_KEYS: ReadonlySet<string> = new Set([
  'user',
  'origin',
  'publish',
  'subscribe',
  'clientId',
  'seconds',
]);

/** What a request is refused with. */
class Refusal extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/**
 * The token that callers have to show: one line of at least 32 characters.
 * @throws ConfigError naming the file; never repeats the token
 */
export function readEndpointToken(
  path: string,
  options: { readonly allowUnsafeModes?: boolean } = {},
): string {
  const text = readGuardedFile(path, {
    fileBytesMax: TOKEN_FILE_BYTES_MAX,
    forbiddenMode: options.allowUnsafeModes === true ? 0 : 0o007,
    modeRemedy: `Run "chmod 600 ${path}".`,
  });
  const token = text.trim();
  if (token.length >= TOKEN_BYTES_MIN && /^[\x21-\x7e]+$/.test(token)) return token;
  const remedy = `Put ${TOKEN_BYTES_MIN} characters or more into it, e.g. with "openssl rand -base64 32".`;
  throw new ConfigError(path, 'this is no token of printable characters on one line, or too short', remedy);
}

/** POST /ticket with `Authorization: Bearer TOKEN` and what `mintTicket` takes as JSON; answers `{"ticket":"…"}`. */
export class TicketEndpoint {
  readonly #options: TicketEndpointOptions;
  readonly #server: Server;

  constructor(options: TicketEndpointOptions) {
    this.#options = options;
    this.#server = createServer(
      {
        maxHeaderSize: HEADER_BYTES_MAX,
        headersTimeout: REQUEST_TIMEOUT_MS,
        requestTimeout: REQUEST_TIMEOUT_MS,
        keepAliveTimeout: REQUEST_TIMEOUT_MS,
        connectionsCheckingInterval: 1_000,
      },
      (request, response) => void this.#serve(request, response),
    );
    this.#server.maxHeadersCount = HEADERS_MAX;
    this.#server.maxConnections = CONNECTIONS_MAX;
  }

  /** Rejects with ConfigError when the port cannot be had. Resolves to the URL with the port that was bound. */
  listen(): Promise<string> {
    const { url } = this.#options;
    const { hostname, port } = new URL(url);
    const host = hostname.replace(/^\[|\]$/g, '');
    return new Promise((resolve, reject) => {
      this.#server.once('error', (error: NodeJS.ErrnoException) => {
        reject(new ConfigError(url, `cannot listen there (${error.code})`, 'Choose a free port of loopback'));
      });
      this.#server.listen(Number(port || 80), host, () => {
        const bound = (this.#server.address() as AddressInfo).port;
        resolve(`http://${hostname}:${bound}`);
      });
    });
  }

  /** Cuts off who is still there: a ticket is made in a moment. */
  async close(): Promise<void> {
    if (!this.#server.listening) return;
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      this.#check(request);
      const scope = readScope(await readBody(request));
      answer(response, 200, { ticket: await this.#mint(scope), expiresInSeconds: scope.seconds });
    } catch (error) {
      const refusal = refusalOf(error);
      this.#options.onRefused?.(refusal.status === 500 ? String(error) : refusal.message);
      // What was not read of the body must not be taken for the next request.
      response.setHeader('connection', 'close');
      answer(response, refusal.status, { error: refusal.message });
    }
  }

  async #mint(scope: Omit<MintOptions, 'keys'>): Promise<string> {
    const { keys, secondsMax, wallNow, onMinted } = this.#options;
    if (scope.seconds > secondsMax) throw new Refusal(400, `seconds: at most ${secondsMax}`);
    const ticket = await mintTicket({ ...scope, keys: keys(), nowMs: wallNow() });
    onMinted?.(scope.user, scope.origin, scope.seconds);
    return ticket;
  }

  #check({ method, url, headers }: IncomingMessage): void {
    // A page in a browser on this machine, or one whose name was made to point here, is not who this is for.
    if (headers.origin !== undefined || !isLoopbackHost(headers.host))
      throw new Refusal(403, 'not for browsers');
    if (!this.#isAuthorized(headers.authorization)) throw new Refusal(401, 'the token is missing or wrong');
    if (url !== TICKET_PATH) throw new Refusal(404, `there is only ${TICKET_PATH}`);
    if (method !== 'POST') throw new Refusal(405, 'only POST');
    if (headers['content-type']?.split(';', 1)[0].trim() !== 'application/json')
      throw new Refusal(415, 'only application/json');
  }

  /** In the same time whatever is wrong with it. */
  #isAuthorized(header = ''): boolean {
    const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
    return timingSafeEqual(digest(header), digest(`Bearer ${this.#options.token()}`));
  }
}

function answer(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' });
  response.end(JSON.stringify(body));
}

function refusalOf(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  if (error instanceof ConfigError) return new Refusal(400, error.message);
  return new Refusal(500, 'internal error');
}

function isLoopbackHost(host: string | undefined): boolean {
  if (host === undefined || !URL.canParse(`http://${host}`)) return false;
  const { hostname } = new URL(`http://${host}`);
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname);
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > BODY_BYTES_MAX) throw new Refusal(413, `at most ${BODY_BYTES_MAX} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

function readScope(text: string): Omit<MintOptions, 'keys'> {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    throw new Refusal(400, 'the body is not JSON');
  }
  if (body === null || typeof body !== 'object') throw new Refusal(400, 'the body is not an object');
  const unknown = Object.keys(body).some((key) => !BODY_KEYS.has(key));
  if (unknown) throw new Refusal(400, `the body has keys other than ${[...BODY_KEYS].join(', ')}`);
  const { user, origin, publish = [], subscribe = [], clientId, seconds } = body as Record<string, unknown>;
  const isText = typeof user === 'string' && typeof origin === 'string';
  if (!isText || !(clientId === undefined || typeof clientId === 'string'))
    throw new Refusal(400, 'user and origin must be texts, and clientId if it is there');
  if (!isTexts(publish) || !isTexts(subscribe))
    throw new Refusal(400, 'publish and subscribe must be lists of texts');
  if (typeof seconds !== 'number') throw new Refusal(400, 'seconds must be a number');
  const scope = { user, origin, publish, subscribe, seconds };
  return clientId === undefined ? scope : { ...scope, clientId };
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}

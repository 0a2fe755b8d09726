/** Which web pages may connect: the only guard a browser's user has against a foreign page using their network. */
import { ConfigError } from '../src/errors.ts';

const SCHEME_PORTS: Readonly<Record<string, string>> = { 'http:': '80', 'https:': '443' };

/** Decides on the Origin header of a handshake. Built once for each listener. */
export class OriginRule {
  /** Undefined: same host. */
  readonly #allowed: ReadonlySet<string> | undefined;
  readonly #all: boolean;

  /**
   * @param url the listener, for error messages
   * @param origins exact origins, or `*` for all; without the list, pages of the same host name (any port) may connect
   * @throws ConfigError for an entry that is no origin
   */
  constructor(url: string, origins: readonly string[] | undefined) {
    this.#all = origins?.includes('*') ?? false;
    this.#allowed = origins && new Set(origins.filter((origin) => origin !== '*').map((o) => entry(url, o)));
  }

  /**
   * @param origin the Origin header; absent for clients that are not browsers, which are let through
   * @param host the Host header (or `:authority`)
   */
  allows(origin: string | undefined, host: string | undefined): boolean {
    if (origin === undefined || this.#all) return true;
    const parsed = parseOrigin(origin);
    if (parsed === undefined) return false;
    if (this.#allowed !== undefined) return this.#allowed.has(originKey(parsed));
    if (host === undefined || !URL.canParse(`http://${host}`)) return false;
    return parsed.hostname === new URL(`http://${host}`).hostname;
  }
}

function entry(url: string, origin: string): string {
  const parsed = parseOrigin(origin);
  if (parsed !== undefined) return originKey(parsed);
  const remedy = 'Write scheme, host and port only, like https://dash.example.com, or "*" for all';
  throw new ConfigError(`${url} origins`, `"${origin}" is not an origin`, remedy);
}

/** A serialised origin: scheme, host, port and nothing else. `null` (sandboxed pages, files) is none. */
function parseOrigin(origin: string): URL | undefined {
  if (!URL.canParse(origin)) return undefined;
  const parsed = new URL(origin);
  const { hostname, pathname, search, hash, username, password } = parsed;
  const bare = (pathname === '' || pathname === '/') && `${search}${hash}${username}${password}` === '';
  return bare && hostname !== '' ? parsed : undefined;
}

function originKey({ protocol, hostname, port }: URL): string {
  return `${protocol}//${hostname}:${port || (SCHEME_PORTS[protocol] ?? '')}`;
}

/** Reads and writes listener URLs, and turns the system's listening errors into advice. */
import { ConfigError } from '../src/errors.ts';

/** Hears of errors that end one connection or one accept, not the listener. */
export type OnError = (error: Error, peerAddress?: string) => void;

/**
 * Connections the kernel holds between SYN and accept. A fleet that comes back after an outage arrives at once;
 * the kernel lowers this to its own bound (`net.core.somaxconn`, usually 4096).
 */
export const BACKLOG_DEFAULT = 4_096;

/** A listener URL in parts. `host` is without the brackets of IPv6; `path` is '' or begins with '/'. */
export interface ListenUrl {
  readonly scheme: string;
  readonly host: string;
  readonly port: number;
  readonly path: string;
}

/**
 * Reads `scheme://host[:port][/path]`. Port 0 asks for an ephemeral one.
 * @param ports the schemes this door knows, each with its default port
 * @throws ConfigError when the URL cannot be read, or holds parts a listener has no use for
 */
export function parseListenUrl(url: string, ports: Readonly<Record<string, number>>): ListenUrl {
  const example = Object.keys(ports)
    .map((scheme) => `${scheme}://127.0.0.1:${ports[scheme]}`)
    .join(' or ');
  const remedy = `Write it like ${example}`;
  const scheme = url.slice(0, Math.max(0, url.indexOf('://')));
  if (!Object.hasOwn(ports, scheme)) throw new ConfigError(url, 'the scheme is not one of this door', remedy);
  const parsed = parseNeutral(url, scheme, remedy);
  if (parsed.hostname === '') throw new ConfigError(url, 'the host is missing', remedy);
  if (parsed.username !== '' || parsed.password !== '' || parsed.search !== '' || parsed.hash !== '') {
    throw new ConfigError(url, 'a listener takes no user, password, query or fragment', remedy);
  }
  const bracketed = parsed.hostname.startsWith('[');
  return {
    scheme,
    host: bracketed ? parsed.hostname.slice(1, -1) : parsed.hostname,
    port: parsed.port === '' ? ports[scheme] : Number(parsed.port),
    path: parsed.pathname,
  };
}

/** Parses under a scheme that URL has no opinion about: for `ws:` it would silently drop the port 80. */
function parseNeutral(url: string, scheme: string, remedy: string): URL {
  try {
    return new URL(`listen${url.slice(scheme.length)}`);
  } catch {
    throw new ConfigError(url, 'the URL cannot be read', remedy);
  }
}

/** The URL of `listen` with the port that was bound. */
export function formatListenUrl(listen: ListenUrl, port: number): string {
  const host = listen.host.includes(':') ? `[${listen.host}]` : listen.host;
  return `${listen.scheme}://${host}:${port}${listen.path}`;
}

const LISTEN_FAULTS: Readonly<Record<string, readonly [problem: string, remedy: string]>> = {
  EADDRINUSE: [
    'another process already listens there',
    'Stop that process, or give this listener another address',
  ],
  EACCES: [
    'the system does not permit to listen there',
    'Use a port above 1023 or a directory you may write to, or grant CAP_NET_BIND_SERVICE',
  ],
  EADDRNOTAVAIL: [
    'the address belongs to no interface of this machine',
    'Use 0.0.0.0, [::] or an address that a local interface has',
  ],
  EAFNOSUPPORT: ['this machine has no such address family', 'Use an IPv4 address, or switch IPv6 on'],
  ENOTFOUND: ['the host name does not resolve', 'Use an IP address, or correct the name'],
  EAI_AGAIN: ['the host name cannot be resolved now', 'Use an IP address, or repair name resolution'],
  ENOENT: ['the directory does not exist', 'Create the directory, or correct the path'],
  ENOTDIR: ['a part of the path is not a directory', 'Correct the path'],
};

/** What a failed `listen` of `url` means to the operator. */
export function listenFault(url: string, error: NodeJS.ErrnoException): ConfigError {
  const code = error.code ?? '';
  const [problem, remedy] = Object.hasOwn(LISTEN_FAULTS, code)
    ? LISTEN_FAULTS[code]
    : [`cannot listen (${error.message})`, 'Check the URL'];
  return new ConfigError(url, problem, remedy);
}

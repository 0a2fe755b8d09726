/** The entries of `listeners`: URL, TLS and what else a door can be told, checked against their own table. */
import { ConfigError } from '../src/errors.ts';
import { LISTENER_AUTH_OPTIONS } from './auth-options.ts';
import { DOOR_LIST_KEYS, readDoorLists } from './door-lists.ts';
import { collect, type Found } from './layer.ts';
import { LISTENER_LIMITS, LISTENER_OPTIONS, PLANNED_LISTENER_KEYS } from './listener-options.ts';
import { showValue } from './problems.ts';
import { type Fault, readTls } from './tls.ts';
import type { ListenerAuth, ListenerConfig, ListenerLimits, Scheme, WebTransportEngine } from './types.ts';
import type { Tree } from './yaml-file.ts';

const PORTS: Record<Exclude<Scheme, 'unix'>, number> = {
  mqtt: 1883,
  mqtts: 8883,
  ws: 8083,
  wss: 8084,
  wt: 8443,
  quic: 14567,
};
const SCHEMES: readonly string[] = [...Object.keys(PORTS), 'unix'];
/** The kernel's room for the path of a socket, less the closing NUL (Linux 107, macOS 103). */
const SOCKET_PATH_BYTES_MAX = 103;
const DEFAULT_MODE = '0660';

type Address = Pick<ListenerConfig, 'url' | 'scheme' | 'host' | 'port' | 'path'>;

/** Reads the list, adds each value's source to `sources` and each fault to `problems`. */
export function readListeners(
  tree: Tree,
  sources: Map<string, string>,
  problems: ConfigError[],
): ListenerConfig[] {
  const listeners: ListenerConfig[] = [];
  const seen = new Map<string, number>();
  const items = tree.kind === 'list' ? tree.items : [];
  items.forEach((item, index) => {
    const name = `listeners[${index}]`;
    if (item.kind !== 'map') {
      const remedy = 'Write it as "- url: mqtt://127.0.0.1:1883"';
      problems.push(new ConfigError(`${item.where}: ${name}`, 'not a mapping with a url', remedy));
      return;
    }
    const listener = readListener(item, name, sources, problems);
    if (listener === null) return;
    const place = listener.scheme === 'unix' ? listener.path : placeOf(listener);
    const twin = seen.get(place);
    if (twin !== undefined && listener.port !== 0) {
      const problem = `${listener.url} is at the same address as listeners[${twin}]`;
      problems.push(
        new ConfigError(`${item.where}: ${name}.url`, problem, 'Give each listener its own port'),
      );
    }
    seen.set(place, index);
    listeners.push(listener);
  });
  return listeners;
}

function readListener(
  item: Tree & { kind: 'map' },
  name: string,
  sources: Map<string, string>,
  problems: ConfigError[],
): ListenerConfig | null {
  const found = new Map<string, Found>();
  const before = problems.length;
  collect(item, LISTENER_OPTIONS, PLANNED_LISTENER_KEYS, found, problems, (key) => `${name}.${key}`);
  for (const [key, { source }] of found) sources.set(`${name}.${key}`, source);
  const fault = (key: string, problem: string, remedy: string): void => {
    problems.push(
      new ConfigError(`${found.get(key)?.source ?? item.where}: ${name}.${key}`, problem, remedy),
    );
  };
  if (!found.has('url')) {
    if (problems.length === before) fault('url', 'missing', 'Give one like mqtt://127.0.0.1:1883');
    return null;
  }
  const address = readUrl(String(found.get('url')!.value), fault);
  if (address === null) return null;
  checkScheme(item, address.scheme, fault);
  const listener: ListenerConfig = {
    ...address,
    ...readDoorLists(found, address.scheme, fault),
    versions: (found.get('versions')?.value as (3 | 4 | 5)[]) ?? [3, 4, 5],
    limits: readLimits(found),
  };
  if (hasTls(address.scheme)) listener.tls = readTls(name, found, sources, problems, fault);
  if (address.scheme === 'quic' && listener.tls?.requestCert === 'optional') {
    fault('tls.requestCert', 'optional cannot be had with quic://', 'Set required or none');
  }
  if (address.scheme === 'unix') listener.mode = text(found, 'mode') ?? DEFAULT_MODE;
  const auth = readAuth(found);
  if (auth !== null) listener.auth = auth;
  const engine = text(found, 'engine');
  if (engine !== undefined) listener.engine = engine as WebTransportEngine;
  if (found.has('isolate')) listener.isolate = found.get('isolate')!.value as boolean;
  const memory = found.get('engineMemoryMaxBytes')?.value as number | undefined;
  if (memory !== undefined) listener.engineMemoryMaxBytes = memory;
  const hasEngine = address.scheme === 'wt' || address.scheme === 'quic';
  const isIsolated = listener.isolate ?? hasEngine;
  if (memory !== undefined && !isIsolated) {
    fault('engineMemoryMaxBytes', 'has no meaning without isolate', 'Take it out, or set isolate: true');
  }
  // Who comes is known only behind what the proxy says, and the doorkeeper is asked before.
  for (const key of ['proxyProtocol', 'trustedProxies']) {
    if (isIsolated && !hasEngine && found.has(key))
      fault('isolate', `cannot be had with ${key}`, 'Take one of them out');
  }
  const origins = found.get('origins');
  if (origins !== undefined) listener.origins = readOrigins(origins.value as string[], fault);
  return listener;
}

/** Takes a listener URL apart. `new URL` is no use here: it drops the port 80 of `ws://host:80`. */
export function readUrl(url: string, fault: Fault): Address | null {
  const shown = showValue('url', url);
  const scheme = /^([a-z]+):\/\//.exec(url)?.[1];
  if (scheme === undefined || !SCHEMES.includes(scheme)) {
    fault(
      'url',
      `${shown} has no scheme that is served here`,
      `Begin with one of ${SCHEMES.join('://, ')}://`,
    );
    return null;
  }
  const rest = url.slice(scheme.length + 3);
  if (scheme === 'unix') return readSocketPath(url, rest, fault);
  if (rest.includes('@')) {
    fault('url', `${shown} has a user name or password`, 'Take them out: users are in auth.passwordFile');
    return null;
  }
  const match = /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?(\/[^\s?#]*)?$/.exec(rest);
  if (match === null || Number(match[2] ?? 0) > 65_535) {
    fault(
      'url',
      `${shown} is not a listener URL`,
      `Give ${scheme}://ADDRESS:PORT, port 0 to 65535, [..] around IPv6`,
    );
    return null;
  }
  return complete(scheme as Exclude<Scheme, 'unix'>, match, shown, fault);
}

function complete(
  scheme: Exclude<Scheme, 'unix'>,
  match: RegExpExecArray,
  shown: string,
  fault: Fault,
): Address | null {
  const [, host, portText, pathText] = match;
  const isWeb = scheme === 'ws' || scheme === 'wss' || scheme === 'wt';
  if (!isWeb && pathText !== undefined && pathText !== '/') {
    fault('url', `${shown} has a path`, 'Take it out: only ws, wss and wt have one');
    return null;
  }
  const port = portText === undefined ? PORTS[scheme] : Number(portText);
  const path = isWeb ? (pathText ?? '/mqtt') : '';
  return {
    url: `${scheme}://${host}:${port}${path}`,
    scheme,
    host: host.replace(/^\[|\]$/g, ''),
    port,
    path,
  };
}

function readSocketPath(url: string, path: string, fault: Fault): Address | null {
  if (!path.startsWith('/') || path.endsWith('/')) {
    fault(
      'url',
      `${showValue('url', url)} names no absolute path`,
      'Give one like unix:///run/sluice/mqtt.sock',
    );
    return null;
  }
  if (Buffer.byteLength(path) > SOCKET_PATH_BYTES_MAX) {
    fault('url', 'the socket path is too long', `Give one of at most ${SOCKET_PATH_BYTES_MAX} bytes`);
    return null;
  }
  return { url, scheme: 'unix', host: '', port: 0, path };
}

/** Refuses keys that the scheme gives no meaning to: a `tls` section below `mqtt://` must not look like protection. */
function checkScheme(item: Tree & { kind: 'map' }, scheme: Scheme, fault: Fault): void {
  for (const { key } of item.entries) {
    const allowed = allowedSchemes(key);
    if (!allowed.includes(scheme)) {
      fault(
        key,
        `has no meaning for ${scheme}://`,
        `Take it out, or make the listener ${allowed.join(' or ')}`,
      );
    }
  }
  if (!hasTls(scheme)) return;
  const tls = item.entries.find((entry) => entry.key === 'tls')?.tree;
  const given = new Set(tls?.kind === 'map' ? tls.entries.map((entry) => entry.key) : []);
  for (const key of ['cert', 'key']) {
    if (!given.has(key)) fault(`tls.${key}`, 'missing', `Name the PEM file; ${scheme} cannot do without`);
    given.delete(key);
  }
  const read = ENGINE_TLS_KEYS[scheme];
  if (read === undefined) return;
  // Its TLS is the engine's: what cannot be set there must not look as if it were.
  for (const key of given) {
    if (read.includes(key)) continue;
    const all = ['cert', 'key', ...read].map((each) => `tls.${each}`).join(', ');
    fault(`tls.${key}`, `has no meaning for ${scheme}://`, `Take it out: only ${all} are read there`);
  }
}

/** What doors whose TLS is their engine's read of `tls` besides cert and key. */
const ENGINE_TLS_KEYS: Partial<Record<Scheme, readonly string[]>> = {
  wt: [],
  quic: ['ca', 'requestCert', 'useCertAsUsername', 'handshakeTimeoutSeconds'],
};

function allowedSchemes(key: string): readonly string[] {
  if (key === 'tls') return ['mqtts', 'wss', 'wt', 'quic'];
  if (key === 'origins') return ['ws', 'wss', 'wt'];
  if (key === 'engine') return ['wt'];
  if (key === 'isolate' || key === 'engineMemoryMaxBytes') return ['wt', 'quic', 'mqtts', 'wss'];
  // What a proxy tells comes over TCP.
  if (key === 'trustedProxies' || key === 'proxyProtocol') {
    return Object.keys(PORTS).filter((scheme) => scheme !== 'wt' && scheme !== 'quic');
  }
  if (DOOR_LIST_KEYS.has(key)) return Object.keys(PORTS);
  return key === 'mode' ? ['unix'] : SCHEMES;
}

function hasTls(scheme: Scheme): boolean {
  return scheme === 'mqtts' || scheme === 'wss' || scheme === 'wt' || scheme === 'quic';
}

/** Where it listens: UDP and TCP do not get in each other's way. */
function placeOf({ scheme, host, port }: ListenerConfig): string {
  return `${scheme === 'wt' || scheme === 'quic' ? 'udp ' : ''}${host}:${port}`;
}

/** What it says of logging in, or null when it says nothing. */
function readAuth(found: Map<string, Found>): ListenerAuth | null {
  const given = LISTENER_AUTH_OPTIONS.filter(({ key }) => found.has(key));
  if (given.length === 0) return null;
  return Object.fromEntries(given.map(({ key }) => [key.slice('auth.'.length), found.get(key)!.value]));
}

function readLimits(found: Map<string, Found>): Partial<ListenerLimits> {
  const limits: Record<string, unknown> = {};
  for (const key of LISTENER_LIMITS) {
    const value = found.get(key)?.value;
    if (value !== undefined) limits[key] = value;
  }
  return limits as Partial<ListenerLimits>;
}

/** An Origin is scheme, host and port, nothing behind them; as browsers send it, without the scheme's own port. */
function readOrigins(origins: string[], fault: Fault): string[] {
  for (const origin of origins) {
    if (origin === '*' || (URL.canParse(origin) && new URL(origin).origin === origin)) continue;
    const problem = `${showValue('origins', origin)} is not an Origin as browsers send it`;
    fault('origins', problem, 'Give scheme and host like "https://dash.example.com", or "*" for all');
  }
  return origins;
}

function text(found: Map<string, Found>, key: string): string | undefined {
  return found.get(key)?.value as string | undefined;
}

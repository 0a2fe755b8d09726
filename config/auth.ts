/** Who can log in where: what follows from the sections `auth`, and what contradicts itself in them. */
import { ConfigError } from '../src/errors.ts';
import { LOGIN_METHODS } from './auth-options.ts';
import { showValue } from './problems.ts';
import type { AuthConfig, Config, ListenerAuth, ListenerConfig, LoginMethod } from './types.ts';

/** What holds at one listener, everything said. */
export interface DoorAuth {
  readonly chain: readonly LoginMethod[];
  readonly allowAnonymous: boolean;
  readonly passwordFile: string | null;
  readonly aclFile: string | null;
}

/** The settings as they were given, before defaults that depend on others. */
export type GivenAuth = Omit<AuthConfig, 'allowAnonymous'> & { readonly allowAnonymous: boolean | null };

type KeyKind = 'secretFile' | 'publicKeyFile' | 'jwksFile' | 'jwksUrl';
const KEY_KINDS: readonly KeyKind[] = ['secretFile', 'publicKeyFile', 'jwksFile', 'jwksUrl'];

/** Where the key for tokens is: the one key of `auth.jwt` that names it, or null. */
export function jwtKeyKind({ jwt }: Pick<AuthConfig, 'jwt'>): KeyKind | null {
  return KEY_KINDS.find((kind) => jwt[kind] !== null) ?? null;
}

/** What a listener's own settings and the main ones come to. Without a listener: the main ones. */
export function doorAuth(auth: AuthConfig, own: ListenerAuth = {}): DoorAuth {
  const passwordFile = own.passwordFile ?? auth.passwordFile;
  const chain =
    own.chain ?? auth.chain ?? LOGIN_METHODS.filter((method) => isSetUp(method, auth, passwordFile));
  return {
    chain,
    allowAnonymous: own.allowAnonymous ?? auth.allowAnonymous,
    passwordFile,
    aclFile: own.aclFile ?? auth.aclFile,
  };
}

/** Whether anybody could log in with a name, by settings that hold for all listeners. */
export function hasLogins(auth: GivenAuth): boolean {
  return LOGIN_METHODS.some((method) => method !== 'certificate' && isSetUp(method, auth, auth.passwordFile));
}

/** Whether names are checked here at all; where not, those who are let in are all nameless. */
export function checksNames({ chain }: DoorAuth): boolean {
  return chain.some((method) => method !== 'certificate');
}

/** Puts every contradiction into `problems`. */
export function checkAuth(config: Config, file: string | undefined, problems: ConfigError[]): void {
  const { auth, sources } = config;
  const fault = (key: string, problem: string, remedy: string): void => {
    problems.push(new ConfigError(`${sources.get(key) ?? file ?? 'flags'}: ${key}`, problem, remedy));
  };
  checkJwt(auth, fault);
  checkUrl('auth.jwt.jwksUrl', auth.jwt.jwksUrl, auth, fault);
  checkUrl('auth.http.url', auth.http.url, auth, fault);
  checkTickets(auth, fault);
  checkChain('auth', auth, doorAuth(auth), sources, fault);
  config.listeners.forEach(({ url, auth: own }, index) => {
    if (own === undefined) return;
    const name = `listeners[${index}].auth`;
    checkChain(name, auth, doorAuth(auth, own), sources, fault);
    if (config.listeners.some((other, at) => at !== index && other.url === url))
      fault(
        `${name}`,
        'another listener has the same URL',
        'Give each its own port, so that they can be told apart',
      );
  });
  checkAnybody(config, file, problems);
}

type Fault = (key: string, problem: string, remedy: string) => void;

function isSetUp(method: LoginMethod, auth: GivenAuth | AuthConfig, passwordFile: string | null): boolean {
  switch (method) {
    case 'certificate':
      return true;
    case 'ticket':
      return auth.tickets.keyFile !== null;
    case 'jwt':
      return KEY_KINDS.some((kind) => auth.jwt[kind] !== null);
    case 'password':
    case 'scram':
      return passwordFile !== null;
    case 'http':
      return auth.http.url !== null;
  }
}

const SETTING_OF: Readonly<Record<LoginMethod, string>> = {
  certificate: 'a certificate',
  ticket: 'auth.tickets.keyFile',
  jwt: 'one of auth.jwt.secretFile, publicKeyFile, jwksFile and jwksUrl',
  password: 'auth.passwordFile',
  scram: 'auth.passwordFile',
  http: 'auth.http.url',
};

/** A way in that was asked for and is not there must not be passed over in silence. */
function checkChain(
  name: string,
  auth: AuthConfig,
  door: DoorAuth,
  sources: Config['sources'],
  fault: Fault,
): void {
  if (!sources.has(`${name}.chain`)) return;
  for (const method of door.chain) {
    if (isSetUp(method, auth, door.passwordFile)) continue;
    fault(
      `${name}.chain`,
      `it has ${method}, which is not set up`,
      `Give ${SETTING_OF[method]}, or take it out`,
    );
  }
}

function checkJwt(auth: AuthConfig, fault: Fault): void {
  const given = KEY_KINDS.filter((kind) => auth.jwt[kind] !== null);
  if (given.length > 1) {
    const problem = `${given.join(' and ')} are both given`;
    fault(
      `auth.jwt.${given[1]}`,
      problem,
      'Name one: a token must not choose which kind of key it is checked with',
    );
  }
  const isForAnyone = auth.jwt.issuer === null && auth.jwt.audience === null;
  if (auth.jwt.jwksUrl !== null && isForAnyone) {
    const problem = 'neither auth.jwt.issuer nor auth.jwt.audience is given';
    const remedy = 'Give both if you can: else tokens that its issuer made for other services log in here';
    fault('auth.jwt.jwksUrl', problem, remedy);
  }
}

function checkUrl(key: string, url: string | null, { allowPlainHttp }: AuthConfig, fault: Fault): void {
  if (url === null) return;
  const parsed = URL.canParse(url) ? new URL(url) : null;
  if (parsed === null || !['http:', 'https:'].includes(parsed.protocol)) {
    fault(
      key,
      `${showValue(key, url)} is no address of a web service`,
      'Give one like https://login.example.org/mqtt',
    );
  } else if (parsed.username !== '' || parsed.password !== '') {
    fault(key, 'it has a user name or password', 'Take them out');
  } else if (parsed.protocol === 'http:' && !allowPlainHttp && !isLoopback(parsed.hostname)) {
    const problem = `${showValue(key, url)} is not encrypted, and not on this machine`;
    fault(key, problem, 'Use https://, or set auth.allowPlainHttp: true for a network that you trust');
  }
}

/** Whoever can make tickets can log in as anybody: not from elsewhere, and not without the token. */
function checkTickets({ tickets }: AuthConfig, fault: Fault): void {
  const { mintUrl, mintTokenFile, keyFile } = tickets;
  if (mintUrl === null) return;
  const key = 'auth.tickets.mintUrl';
  const parsed = URL.canParse(mintUrl) ? new URL(mintUrl) : null;
  if (parsed?.protocol !== 'http:' || !isLoopback(parsed.hostname) || parsed.origin !== mintUrl) {
    const remedy = 'Give http://, a loopback address and a port, like http://127.0.0.1:8085';
    fault(key, `${showValue(key, mintUrl)} is no address on loopback`, remedy);
  }
  if (mintTokenFile === null)
    fault(key, 'auth.tickets.mintTokenFile is missing', 'Name the file of its token');
  if (keyFile === null) fault(key, 'auth.tickets.keyFile is missing', 'Make one with "sluice ticket --init"');
}

function isLoopback(hostname: string): boolean {
  return /^127\.\d+\.\d+\.\d+$/.test(hostname) || hostname === '[::1]' || hostname === 'localhost';
}

/** A listener that nobody could get in by is a mistake. */
function checkAnybody(config: Config, file: string | undefined, problems: ConfigError[]): void {
  if (problems.some((problem) => /: (listeners\[\d+\]\.)?auth\b/.test(problem.where))) return;
  const { sources, listeners } = config;
  const isClosed = ({ auth: own, tls }: Pick<ListenerConfig, 'auth' | 'tls'>): boolean => {
    const door = doorAuth(config.auth, own);
    return !door.allowAnonymous && !checksNames(door) && (tls?.useCertAsUsername ?? false) === false;
  };
  const mainDoors = listeners.filter(({ auth }) => auth === undefined);
  // Without any listener, which is another mistake, this one is told as well.
  if (listeners.length === 0 ? isClosed({}) : mainDoors.some(isClosed)) {
    const where = sources.get('auth.allowAnonymous') ?? sources.get('listeners') ?? file ?? 'flags';
    problems.push(
      new ConfigError(
        `${where}: auth`,
        'nobody could log in: there is no passwordFile, and allowAnonymous is false',
        'Make a file with "sluice passwd add FILE USER" and name it in auth.passwordFile, or set auth.allowAnonymous: true',
      ),
    );
  }
  listeners.forEach((listener, index) => {
    if (listener.auth === undefined || !isClosed(listener)) return;
    const where = `${sources.get(`listeners[${index}].url`) ?? file ?? 'flags'}: listeners[${index}].auth`;
    const remedy = 'Give it a passwordFile or a chain, or set allowAnonymous: true';
    problems.push(new ConfigError(where, 'nobody could log in here', remedy));
  });
}

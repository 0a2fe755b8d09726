/** From file, environment and flags to one checked configuration. */
import { join } from 'node:path';
import { ConfigError } from '../src/errors.ts';
import type { Limits } from '../src/limits.ts';
import { checkAuth, type GivenAuth, hasLogins } from './auth.ts';
import { fromText } from './formats.ts';
import { readHolds } from './hold.ts';
import { collect, type Found } from './layer.ts';
import { readListeners } from './listeners.ts';
import { createSchema, envName, findOption, flagName, OPTIONS, PLANNED_KEYS } from './options.ts';
import { ConfigErrors, nearest, printable, showValue } from './problems.ts';
import type { Config, ListenerConfig } from './types.ts';
import { fromValue, readYamlFile, type Tree } from './yaml-file.ts';

export interface ConfigInput {
  /** YAML or JSON, relative to the working directory. Without one: local-only mode. */
  file?: string;
  /** All of the environment; only `SLUICE_*` is looked at. */
  env: Readonly<Record<string, string | undefined>>;
  /** Dotted key → text, as on the command line. */
  flags: Readonly<Record<string, string>>;
}

/** Where development certificates lie, relative to the working directory. */
export const DEV_CERTS_DIRECTORY = 'certs';

const DEV_TLS = { cert: `${DEV_CERTS_DIRECTORY}/server.pem`, key: `${DEV_CERTS_DIRECTORY}/server.key` };
const LOCAL_LISTENERS = [
  { url: 'mqtt://127.0.0.1:1883' },
  { url: 'mqtts://127.0.0.1:8883', tls: DEV_TLS },
  { url: 'ws://127.0.0.1:8083/mqtt' },
  { url: 'wss://127.0.0.1:8084/mqtt', tls: DEV_TLS },
];
/** What Kubernetes sets in a pod beside a service that is called "sluice"; no options of ours. */
const FOREIGN_ENV = /^SLUICE_(SERVICE_HOST$|SERVICE_PORT|PORT$|PORT_\d)/;

/** The shape `createSchema` fills. */
type Values = Omit<Config, 'localOnly' | 'listeners' | 'sources' | 'auth' | 'bans'> & {
  auth: GivenAuth;
  bans: { file: string | null };
};

/**
 * Merges defaults < file < environment < flags. Throws `ConfigErrors` with every problem at once; each names key, value,
 * source and what would be right.
 */
export function loadConfig(input: ConfigInput): Config {
  const problems: ConfigError[] = [];
  const found = new Map<string, Found>();
  if (input.file !== undefined) collectFile(input.file, found, problems);
  collectEnv(input.env, found, problems);
  collectFlags(input.flags, found, problems);

  const sources = new Map([...found].map(([key, { source }]) => [key, source]));
  const given = found.get('listeners');
  const tree = given?.tree ?? (input.file === undefined ? fromValue(LOCAL_LISTENERS, 'built in') : null);
  const listeners = tree === null ? [] : readListeners(tree, sources, problems);
  const holdTree = found.get('hold')?.tree;
  const hold = holdTree === undefined ? [] : readHolds(holdTree, sources, problems);
  const schema = createSchema();
  for (const [key, { value }] of found) {
    if (key !== 'listeners' && key !== 'hold') schema.set(key, value);
  }
  schema.validate({ allowed: 'strict' });
  const values = schema.getProperties() as unknown as Values;
  const localOnly = input.file === undefined && listeners.every(isLocal);
  const config = assemble({ ...values, hold }, listeners, localOnly, sources);
  if (tree === null && !problems.some((problem) => problem.where.endsWith(': listeners'))) {
    problems.push(
      new ConfigError(`${input.file}: listeners`, 'missing', 'Add "listeners:" with "- url: …" below'),
    );
  }
  checkAuth(config, input.file, problems);
  if (problems.length > 0) throw new ConfigErrors(problems);
  return config;
}

function assemble(
  values: Values,
  listeners: ListenerConfig[],
  localOnly: boolean,
  sources: Map<string, string>,
): Config {
  const { memoryMaxBytes, ...limits } = values.limits as Limits & { memoryMaxBytes: number };
  // Never opened to strangers by what was left out: only where nobody else can reach it, and no users are named.
  const open = values.auth.allowAnonymous ?? (localOnly && !hasLogins(values.auth));
  return {
    localOnly,
    devCertificates: localOnly && !sources.has('listeners'),
    listeners: listeners.map((listener) => withFileModes(listener, values.allowOpenFiles)),
    auth: { ...values.auth, allowAnonymous: open, allowOpenFiles: values.allowOpenFiles },
    limits,
    memoryMaxBytes,
    overload: values.overload,
    user: values.user,
    group: values.group,
    allowOpenFiles: values.allowOpenFiles,
    strangers: values.strangers,
    throttle: values.throttle,
    bans: { file: values.bans.file ?? join(values.persistence.dir, 'bans.jsonl') },
    flapping: values.flapping,
    payloadFormatCheck: values.payloadFormatCheck,
    queueQos0: values.queueQos0,
    queueWhenFull: values.queueWhenFull,
    hold: values.hold,
    deniedPublish: values.deniedPublish,
    responseInformation: values.responseInformation,
    sys: values.sys,
    persistence: values.persistence,
    log: values.log,
    shutdownGraceSeconds: values.shutdownGraceSeconds,
    sources,
  };
}

function withFileModes(listener: ListenerConfig, allowOpenFiles: boolean): ListenerConfig {
  if (listener.tls === undefined || !allowOpenFiles) return listener;
  return { ...listener, tls: { ...listener.tls, allowOpenFiles } };
}

function collectFile(file: string, found: Map<string, Found>, problems: ConfigError[]): void {
  // A syntax error throws: nothing of such a file can be trusted, so no later check would mean anything.
  const tree = readYamlFile(file);
  if (tree.kind === 'map') collect(tree, OPTIONS, PLANNED_KEYS, found, problems);
  else if (tree.kind === 'list' || tree.value !== null) {
    problems.push(new ConfigError(tree.where, 'not a mapping', 'Write "key: value" lines at the top level'));
  }
}

function collectEnv(env: ConfigInput['env'], found: Map<string, Found>, problems: ConfigError[]): void {
  const keys = new Map(OPTIONS.map((option) => [envName(option.key), option.key]));
  for (const [name, text] of Object.entries(env)) {
    if (!name.startsWith('SLUICE_') || text === undefined || FOREIGN_ENV.test(name)) continue;
    const key = keys.get(name);
    if (key !== undefined) {
      collectText(key, text, `environment ${name}`, found, problems);
      continue;
    }
    const meant = nearest(name, keys.keys());
    const remedy = meant === null ? 'docs/config.md lists the variables' : `Did you mean ${meant}?`;
    const problem = `unknown variable with value ${showValue(name, text)}`;
    problems.push(new ConfigError(`environment ${printable(name)}`, problem, remedy));
  }
}

function collectFlags(flags: ConfigInput['flags'], found: Map<string, Found>, problems: ConfigError[]): void {
  for (const [key, text] of Object.entries(flags)) {
    collectText(key, text, `flag ${flagName(key)}`, found, problems);
  }
}

/** One value given as text: made into the option's kind of value, then checked like the same key in a file. */
function collectText(
  key: string,
  text: string,
  source: string,
  found: Map<string, Found>,
  problems: ConfigError[],
): void {
  const option = findOption(key);
  if (option === undefined) {
    const meant = nearest(
      key,
      OPTIONS.map((known) => known.key),
    );
    const remedy = meant === null ? 'docs/config.md lists the flags' : `Did you mean ${flagName(meant)}?`;
    problems.push(new ConfigError(printable(source), 'unknown flag', remedy));
    return;
  }
  const tree = fromValue(fromText(option.format, text), source);
  collectOne(key, tree, found, problems);
}

function collectOne(key: string, tree: Tree, found: Map<string, Found>, problems: ConfigError[]): void {
  const parts = key.split('.');
  let map = tree;
  for (const part of parts.reverse()) {
    map = { kind: 'map', where: tree.where, entries: [{ key: part, where: tree.where, tree: map }] };
  }
  collect(map, OPTIONS, PLANNED_KEYS, found, problems);
}

function isLocal(listener: ListenerConfig): boolean {
  if (listener.scheme === 'unix') return true;
  return /^127\.\d+\.\d+\.\d+$/.test(listener.host) || ['::1', 'localhost'].includes(listener.host);
}

/** `sluice serve`, the composition root: builds every part, opens the doors, and takes it all down again. */
import { statSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { DEV_CERTS_DIRECTORY } from '../config/load.ts';
import { ConfigErrors } from '../config/problems.ts';
import type { Config, ListenerConfig } from '../config/types.ts';
import { ConfigError, DoorUnavailable } from '../src/errors.ts';
import type { Address } from '../src/interfaces/transport.ts';
import type { OnError } from '../transports/listen-url.ts';
import { Access } from './access.ts';
import { Account, checkOpenFiles } from './account.ts';
import { keepBrowserCertificates } from './browser-certificates.ts';
import { checkFiles } from './check.ts';
import { type Core, openCore } from './compose.ts';
import { createDoor, type Door, type DoorContext, describeDoor } from './doors.ts';
import { LimitedLog } from './log-limit.ts';
import { Logger, type LogOutputs } from './logger.ts';
import { SystemClock } from './system-clock.ts';

/** A broker that serves. */
export interface Running {
  readonly addresses: readonly Address[];
  readonly log: LimitedLog;
  /** Reads passwords, rules and certificates again and opens the log anew. Never throws; faults are logged. */
  reload(): Promise<void>;
  /** Says goodbye to every client, gives them `shutdownGraceSeconds`, and resolves when nothing is left. */
  close(): Promise<void>;
  /** Resolves when what was logged is written. Nothing is logged after it. */
  flush(): Promise<void>;
}

const MS_PER_SECOND = 1_000;
const CRASH_FLUSH_MS = 2_000;
const PROGRESS_INTERVAL_MS = 2_000;

/**
 * Starts everything, or nothing: rejects with `ConfigErrors` or `ConfigError` that name every fault found.
 * Prints one line for each door, then `ready`. `onStoreFailed` is called when the store can no longer keep what is acknowledged.
 */
export async function serve(
  config: Config,
  outputs: LogOutputs,
  onStoreFailed: (error: Error) => void = raise,
): Promise<Running> {
  const account = Account.takeOn(config);
  const devAuthority = config.devCertificates ? await makeDevCertificates() : null;
  const problems = checkFiles(config);
  if (problems.length > 0) throw new ConfigErrors(problems);
  const logger = await Logger.open(config.log, outputs);
  const clock = new SystemClock();
  const log = new LimitedLog(logger, clock);
  const undo: (() => Promise<void> | void)[] = [() => logger.close(), () => log.close()];
  try {
    const stopRenewing = await keepBrowserCertificates(config.listeners, clock, log);
    undo.push(stopRenewing);
    const access = new Access(config, log, clock);
    undo.push(() => access.close());
    const core = await openCore(config, {
      log,
      clock,
      access,
      onStoreFailed,
      onStoreProgress: tellProgress(config.persistence.dir, outputs),
    });
    undo.push(() => core.close());
    const doors = await openAllDoors(account, config, core, {
      log,
      clock,
      doorkeeper: core.doorkeeper,
      isBanned: (address) => access.bans.isBanned(address),
      ids: account.ids,
    });
    for (const { door, address } of doors) {
      outputs.stdout.write(`${describeDoor(door, address.url, devAuthority)}\n`);
    }
    if (config.localOnly) outputs.stdout.write(`${LOCAL_ONLY}\n`);
    outputs.stdout.write('ready\n');
    await access.listen();
    account.tell(log);
    checkOpenFiles(config, log);
    log.info('broker.ready', { doors: doors.map(({ address }) => address.url) });
    return new RunningBroker(config, doors, core, access, log, logger, stopRenewing);
  } catch (error) {
    for (const step of undo.reverse()) await step();
    throw error;
  }
}

/** Says how far the store has been read, when that takes long enough for somebody to wonder. */
function tellProgress(dir: string, outputs: LogOutputs): (fraction: number) => void {
  const startedAt = performance.now();
  let toldAt = startedAt;
  return (fraction) => {
    const now = performance.now();
    if (now - toldAt < PROGRESS_INTERVAL_MS) return;
    toldAt = now;
    const seconds = Math.round((now - startedAt) / MS_PER_SECOND);
    outputs.stdout.write(`reading ${dir}: ${Math.floor(fraction * 100)} % after ${seconds} s\n`);
  };
}

function raise(error: Error): never {
  throw error;
}

const LOCAL_ONLY =
  'local-only mode: anonymous clients from this machine; give a configuration with -c for more';

/** The authority that clients have to trust, or null when the certificates in place are not ours. */
async function makeDevCertificates(): Promise<string | null> {
  // Loaded only here: it brings a polyfill along that a broker with certificates of its own has no use for.
  const { ensureDevCertificates } = await import('./certificates.ts');
  const { ca, development } = await ensureDevCertificates(DEV_CERTS_DIRECTORY, Date.now());
  return development ? ca : null;
}

interface OpenDoor {
  readonly door: Door;
  readonly address: Address;
}

/** Ports that only root may bind. */
const PRIVILEGED_PORTS_MAX = 1_023;

function isPrivileged({ port }: ListenerConfig): boolean {
  return port > 0 && port <= PRIVILEGED_PORTS_MAX;
}

/** Doors that only root can open come first; then root is given up for good. */
async function openAllDoors(
  account: Account,
  config: Config,
  core: Core,
  context: DoorContext,
): Promise<OpenDoor[]> {
  const low = config.listeners.filter(isPrivileged);
  const high = config.listeners.filter((listener) => !isPrivileged(listener));
  const open = await account.asRoot(() => openDoors(low, config, core, context));
  try {
    account.keep();
    open.push(...(await openDoors(high, config, core, context)));
  } catch (error) {
    await closeDoors(open);
    throw error;
  }
  const place = (each: OpenDoor): number => config.listeners.indexOf(each.door.listener);
  return open.sort((a, b) => place(a) - place(b));
}

async function closeDoors(doors: readonly OpenDoor[]): Promise<void> {
  await Promise.all(doors.map(({ door }) => door.transport.close(0)));
}

/** The newest binary there is (docs/decisions/0017-quic.md). */
const OLD_ENGINE =
  'its engine is quiche 0.18, with known faults that strangers can reach: open it to networks you trust (`allow`), and keep its process its own (`isolate`)';

/** Opens all doors or none, but for those whose engine is missing: where one fails, those that opened are closed again and every fault is told. */
async function openDoors(
  listeners: readonly ListenerConfig[],
  config: Config,
  core: Core,
  context: DoorContext,
): Promise<OpenDoor[]> {
  const opening = listeners.map(async (listener): Promise<OpenDoor> => {
    const onError: OnError = (error, address) => {
      context.log.info('connection.failed', { door: listener.url, address, problem: problemOf(error) });
    };
    const door = createDoor(listener, config.limits, onError, context);
    const address = await door.transport.listen((wire) => core.accept(wire, listener));
    if (listener.scheme === 'quic')
      context.log.warn('door.old_engine', { door: listener.url, remedy: OLD_ENGINE });
    return { door, address };
  });
  const results = await Promise.allSettled(opening);
  const open = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  const faults = results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []));
  const unavailable = faults.filter((fault) => fault instanceof DoorUnavailable);
  // What a door needs of the machine may be missing; the others serve all the same, unless there are none.
  if (unavailable.length === faults.length && unavailable.length < config.listeners.length) {
    for (const { where, message } of unavailable) {
      context.log.error('door.unavailable', { door: where.split(' ', 1)[0], problem: message });
    }
    return open;
  }
  await closeDoors(open);
  const defect = faults.find((fault) => !(fault instanceof ConfigError));
  throw defect ?? new ConfigErrors(faults);
}

/** OpenSSL's message is a line of numbers and source files; its `reason` says the same in words. */
function problemOf(error: Error & { reason?: unknown }): string {
  return typeof error.reason === 'string' ? `TLS: ${error.reason}` : error.message;
}

class RunningBroker implements Running {
  readonly addresses: readonly Address[];
  readonly log: LimitedLog;
  readonly #graceMs: number;
  readonly #doors: readonly OpenDoor[];
  readonly #core: Core;
  readonly #access: Access;
  readonly #logger: Logger;
  readonly #stopRenewing: () => void;
  #closing: Promise<void> | null = null;

  constructor(
    config: Config,
    doors: readonly OpenDoor[],
    core: Core,
    access: Access,
    log: LimitedLog,
    logger: Logger,
    stopRenewing: () => void,
  ) {
    this.addresses = doors.map(({ address }) => address);
    this.log = log;
    this.#graceMs = config.shutdownGraceSeconds * MS_PER_SECOND;
    this.#doors = doors;
    this.#core = core;
    this.#access = access;
    this.#logger = logger;
    this.#stopRenewing = stopRenewing;
  }

  async reload(): Promise<void> {
    const kept = this.#access.reload();
    for (const { door } of this.#doors) {
      try {
        door.reload?.();
      } catch (error) {
        this.log.error('tls.refused', { door: door.listener.url, problem: (error as Error).message });
        kept.push(`certificates of ${door.listener.url}`);
      }
    }
    try {
      await this.#logger.reopen();
    } catch (error) {
      this.log.error('log.refused', { problem: (error as Error).message });
      kept.push('log');
    }
    if (kept.length === 0) this.log.info('broker.reloaded');
    else this.log.warn('broker.reloaded-in-part', { kept });
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async flush(): Promise<void> {
    this.log.close();
    await this.#logger.close();
  }

  async #close(): Promise<void> {
    this.log.info('broker.stopping');
    this.#stopRenewing();
    // The doors stop accepting first, so that nobody comes in while everybody is shown out.
    const closing = this.#doors.map(({ door }) => door.transport.close(this.#graceMs));
    await this.#core.close();
    await Promise.all(closing);
    await this.#access.close();
    this.log.info('broker.stopped');
    await this.flush();
  }
}

/**
 * Serves until SIGTERM or SIGINT (a second one ends it at once); SIGHUP reloads. Resolves when all is closed.
 * An error that nobody caught is logged and ends the process with code 1: its state cannot be trusted.
 * @param file the configuration file; it is not read again, and a reload says so when it has changed
 */
export async function serveUntilStopped(config: Config, file?: string): Promise<void> {
  const atStart = versionOf(file);
  // A reader of our output that goes away must not take the broker along.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
  let running: Running | null = null;
  // Before the start, not after: whoever reads "ready" may send a signal at once.
  process.on('uncaughtException', (error) => void crash(running, error));
  process.on('SIGHUP', () => {
    void running?.reload();
    const now = versionOf(file);
    if (now !== null && now !== atStart)
      running?.log.warn('config.not_reloaded', {
        file,
        remedy: 'restart the broker: its configuration is read at the start only',
      });
  });
  const stopped = untilSignal();
  running = await serve(config, process, (error) => void stopForStore(running, error));
  await stopped;
  await running.close();
  // Whatever a library left running must not hold the process; its output is already written.
  setTimeout(() => process.exit(), MS_PER_SECOND).unref();
}

/** What changes with a file, without reading it: who gave root up may not be able to. Null where it cannot be said. */
function versionOf(file: string | undefined): string | null {
  if (file === undefined) return null;
  try {
    const { ino, size, mtimeMs } = statSync(file);
    return `${ino} ${size} ${mtimeMs}`;
  } catch {
    return null;
  }
}

/** Resolves with the first SIGTERM or SIGINT; the second ends the process. */
function untilSignal(): Promise<void> {
  return new Promise((resolve) => {
    let signals = 0;
    const stop = (signal: NodeJS.Signals): void => {
      if (++signals > 1) process.exit(1);
      process.stdout.write(`stopping on ${signal}\n`);
      resolve();
    };
    process.on('SIGTERM', stop);
    process.on('SIGINT', stop);
  });
}

/** Ends the process: what was acknowledged is on the disk, and nothing more can be. */
async function stopForStore(running: Running | null, error: Error): Promise<void> {
  process.stderr.write(
    `sluice: stopped, because the store failed: ${error.message}. ` +
      'Nothing acknowledged depends on what could not be written. See to the disk, then start again.\n',
  );
  await Promise.race([running?.flush(), wait(CRASH_FLUSH_MS)]);
  process.exit(1);
}

async function crash(running: Running | null, error: Error): Promise<void> {
  process.stderr.write(`sluice: stopped by a defect, please report it: ${error.stack ?? error}\n`);
  running?.log.error('broker.crashed', { error });
  await Promise.race([running?.flush(), wait(CRASH_FLUSH_MS)]);
  process.exit(1);
}

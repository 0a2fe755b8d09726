/**
 * The log: JSON lines, one event each, written by a worker thread into files that rotate by size and count, or to
 * standard output. While it goes to a file, warnings and errors are shown on the terminal too, as many as people can read.
 */
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { pino } from 'pino';
import { prettyFactory } from 'pino-pretty';
import type { LogConfig } from '../config/types.ts';
import type { Log } from '../src/interfaces/log.ts';
import { LineBatch } from './log-batch.ts';
import { safeFields } from './log-fields.ts';
import { checkLogFile, logFault } from './log-file.ts';
import { ShownLines } from './shown-lines.ts';

/** Where text goes that people read: process.stdout and process.stderr, or a test's own. */
export interface Output {
  write(text: string): unknown;
  readonly isTTY?: boolean;
}

export interface LogOutputs {
  readonly stdout: Output;
  readonly stderr: Output;
}

type FileStream = ReturnType<typeof pino.transport>;

const FILE_MODE = 0o640;
const DIRECTORY_MODE = 0o750;

export class Logger implements Log {
  readonly #config: LogConfig;
  readonly #stderr: Output;
  readonly #pino: pino.Logger;
  readonly #batch: LineBatch | null;
  readonly #shown: ShownLines | null;
  #file: FileStream | null;
  #closed = false;

  /** Opens the log; a folder that is missing is made. Throws ConfigError when it cannot be written. */
  static async open(config: LogConfig, outputs: LogOutputs): Promise<Logger> {
    const file = config.file === '' ? null : await openFile(config);
    return new Logger(config, outputs, file);
  }

  private constructor(config: LogConfig, outputs: LogOutputs, file: FileStream | null) {
    this.#config = config;
    this.#stderr = outputs.stderr;
    this.#file = file;
    if (file !== null) this.#watch(file);
    const streams: pino.StreamEntry[] = [];
    if (file === null) {
      this.#batch = null;
      this.#shown = null;
      streams.push({ level: config.level, stream: terminal(config, outputs.stdout) });
    } else {
      this.#batch = new LineBatch((text) => this.#file?.write(text));
      streams.push({ level: config.level, stream: this.#batch });
      const { write } = terminal(config, outputs.stderr);
      this.#shown = new ShownLines(write);
      streams.push({ level: config.level === 'error' ? 'error' : 'warn', stream: this.#shown });
    }
    this.#pino = pino(
      {
        level: config.level,
        base: null,
        messageKey: 'event',
        timestamp: pino.stdTimeFunctions.isoTime,
        formatters: { level: (label) => ({ level: label }) },
      },
      pino.multistream(streams),
    );
  }

  debug(event: string, fields?: object): void {
    this.#write('debug', event, fields);
  }

  info(event: string, fields?: object): void {
    this.#write('info', event, fields);
  }

  warn(event: string, fields?: object): void {
    this.#write('warn', event, fields);
  }

  error(event: string, fields?: object): void {
    this.#write('error', event, fields);
  }

  /** Opens the file anew, for when another program moved it away. The old one stays in use if that fails. */
  async reopen(): Promise<void> {
    const old = this.#file;
    if (old === null || this.#closed) return;
    const opened = await openFile(this.#config);
    this.#watch(opened);
    this.#batch?.flush();
    this.#file = opened;
    await endStream(old);
  }

  /** Resolves when everything logged before is in the file. Later lines are dropped. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#batch?.close();
    this.#shown?.close();
    const file = this.#file;
    this.#file = null;
    if (file !== null) await endStream(file);
  }

  #write(level: 'debug' | 'info' | 'warn' | 'error', event: string, fields: object | undefined): void {
    if (this.#closed || !this.#pino.isLevelEnabled(level)) return;
    this.#pino[level](fields === undefined ? {} : safeFields(fields), event);
  }

  /** A full disk must not stop the broker, but somebody has to hear of it. */
  #watch(file: FileStream): void {
    file.on('error', (error: Error) => {
      this.#stderr.write(`sluice: the log cannot be written: ${error.message}\n`);
    });
  }
}

async function openFile(config: LogConfig): Promise<FileStream> {
  checkLogFile(config.file);
  try {
    mkdirSync(dirname(config.file), { recursive: true, mode: DIRECTORY_MODE });
    const stream = pino.transport({
      target: 'pino-roll',
      options: {
        file: config.file,
        size: `${config.maxSizeBytes}b`,
        // pino-roll counts the files beside the current one.
        limit: { count: config.maxFiles - 1, removeOtherLogFiles: true },
        mode: FILE_MODE,
      },
    });
    await once(stream, 'ready');
    return stream;
  } catch (error) {
    throw logFault(config.file, error as Error);
  }
}

const KEEP_ALIVE_MS = 1_000;

async function endStream(stream: FileStream): Promise<void> {
  const closed = once(stream, 'close');
  // The worker that writes is unref'd: with nothing else left, the process would end in the midst of its last lines.
  const alive = setInterval(() => {}, KEEP_ALIVE_MS);
  try {
    stream.end();
    await closed;
  } finally {
    clearInterval(alive);
  }
}

/** Readable lines for people, JSON lines for programs. */
function terminal(config: LogConfig, output: Output): pino.DestinationStream {
  const isTerminal = output.isTTY === true;
  const isPretty = config.pretty === 'always' || (config.pretty === 'auto' && isTerminal);
  if (!isPretty) return { write: (line) => output.write(line) };
  const format = prettyFactory({
    colorize: isTerminal,
    messageKey: 'event',
    singleLine: true,
    translateTime: 'SYS:HH:MM:ss.l',
  });
  return { write: (line) => output.write(format(JSON.parse(line))) };
}

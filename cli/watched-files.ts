/** The files that say who gets in: each read at start, again when it changes, and on SIGHUP; once, however many use it. */
import { problemsOf } from '../auth/files/bad-lines.ts';
import { WatchedFile } from '../auth/files/watched-file.ts';
import { ConfigError } from '../src/errors.ts';
import type { Log } from '../src/interfaces/log.ts';

export interface FileUse<T> {
  /** For the log: `NAME.loaded`, `NAME.refused`. */
  readonly name: string;
  readonly path: string;
  /** Reads and checks the file; throws ConfigError when it cannot be used. */
  readonly read: (path: string) => T;
  /** Whether the file is only polled: for a folder in which others write all the time. */
  readonly pollOnly?: boolean;
  /** What the log says of a new value. */
  readonly describe?: (value: T) => object;
}

interface Entry {
  readonly name: string;
  readonly path: string;
  readonly file: WatchedFile<unknown>;
  readonly users: ((value: unknown) => void)[];
}

export class WatchedFiles {
  readonly #log: Log;
  readonly #entries = new Map<string, Entry>();

  constructor(log: Log) {
    this.#log = log;
  }

  /**
   * Reads the file, or takes what was read for somebody else under the same name.
   * @param onChange called with each new value after this one
   * @throws ConfigError when it cannot be used
   */
  open<T>(use: FileUse<T>, onChange: (value: T) => void): T {
    const key = `${use.name} ${use.path}`;
    const entry = this.#entries.get(key) ?? this.#add(key, use);
    entry.users.push(onChange as (value: unknown) => void);
    return entry.file.current as T;
  }

  /** Watches from now on. */
  start(): void {
    for (const { file } of this.#entries.values()) file.start();
  }

  /** Reads all of them now. What cannot be used is logged, the old content stays in force, and its name is returned. */
  reload(): string[] {
    const kept: string[] = [];
    for (const { name, path, file } of this.#entries.values()) {
      const result = file.reload();
      if (result.ok) continue;
      this.#refused(name, path, result.error);
      kept.push(name);
    }
    return kept;
  }

  stop(): void {
    for (const { file } of this.#entries.values()) file.stop();
  }

  #add<T>(key: string, { name, path, read, describe, pollOnly = false }: FileUse<T>): Entry {
    const users: ((value: unknown) => void)[] = [];
    const file: WatchedFile<unknown> = new WatchedFile<unknown>(path, {
      read,
      onChange: (value) => {
        for (const user of users) user(value);
        this.#log.info(`${name}.loaded`, { file: path, ...describe?.(value as T) });
      },
      onError: (error) => this.#refused(name, path, error),
      pollOnly,
    });
    const entry = { name, path, file, users };
    this.#entries.set(key, entry);
    return entry;
  }

  #refused(name: string, path: string, error: Error): void {
    const [first, ...others] = error instanceof ConfigError ? problemsOf(error) : [error];
    this.#log.error(`${name}.refused`, {
      file: path,
      problem: first.message,
      ...(others.length > 0 ? { others: others.map(({ message }) => message) } : {}),
      kept: 'what was loaded before',
    });
  }
}

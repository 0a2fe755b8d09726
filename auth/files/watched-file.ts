/** A file that is read at start and again whenever it changes. All or nothing: what cannot be used changes nothing. */
import { type FSWatcher, statSync, unwatchFile, watch, watchFile } from 'node:fs';
import { basename, dirname } from 'node:path';
import { ConfigError } from '../../src/errors.ts';

export interface WatchedFileOptions<T> {
  /** Reads and checks the file; throws when it cannot be used. */
  readonly read: (path: string) => T;
  /** Called with each new value after the first. */
  readonly onChange: (value: T) => void;
  /** Called when a changed or removed file cannot be used; the old value stays. Once per state of the file. */
  readonly onError: (error: Error) => void;
  /** How often the file's state is looked at where no change is announced (network file systems, symbolic links). */
  readonly pollMs?: number;
  /** Whether the file is only polled: for a folder in which others write all the time. */
  readonly pollOnly?: boolean;
  /** How long a file must be quiet before it is read, so that it is not caught half written. */
  readonly quietMs?: number;
}

export type ReloadResult = { readonly ok: true } | { readonly ok: false; readonly error: Error };

/** A second between an edit and its effect is what people expect of a file. */
const POLL_MS = 1_000;
/** Editors and copies write in bursts of milliseconds. */
const QUIET_MS = 100;

/** Holds the newest good value. `start` watches; `reload` reads on demand (SIGHUP, admin API). */
export class WatchedFile<T> {
  readonly #path: string;
  readonly #options: WatchedFileOptions<T>;
  #current: T;
  /** The state of the file that was last read, good or not. */
  #seen: string;
  #watcher: FSWatcher | null = null;
  #timer: NodeJS.Timeout | null = null;
  #started = false;
  readonly #touched = () => this.#schedule();

  /** Reads the file once. Throws what `read` throws: at start a broken file is not to be overlooked. */
  constructor(path: string, options: WatchedFileOptions<T>) {
    this.#path = path;
    this.#options = options;
    this.#seen = stateOf(path);
    this.#current = options.read(path);
  }

  /** The newest value that could be used. */
  get current(): T {
    return this.#current;
  }

  /** Watches from now on. Does not hold the process open. */
  start(): void {
    if (this.#started) return;
    this.#started = true;
    const interval = this.#options.pollMs ?? POLL_MS;
    watchFile(this.#path, { interval, persistent: false }, this.#touched);
    if (this.#options.pollOnly !== true) this.#watchDirectory();
    // The file may have changed between the first reading and now.
    this.#schedule();
  }

  /** Reads the file now. On failure the old value stays, and the error is returned and not reported again. */
  reload(): ReloadResult {
    this.#seen = stateOf(this.#path);
    try {
      this.#current = this.#options.read(this.#path);
    } catch (error) {
      return { ok: false, error: error instanceof Error ? error : new Error(String(error)) };
    }
    this.#options.onChange(this.#current);
    return { ok: true };
  }

  /** Ends watching; `reload` still works. */
  stop(): void {
    if (!this.#started) return;
    this.#started = false;
    unwatchFile(this.#path, this.#touched);
    this.#watcher?.close();
    this.#watcher = null;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  /** The directory, not the file: an editor that renames a new file into place would leave the watch on the old one. */
  #watchDirectory(): void {
    const name = basename(this.#path);
    try {
      this.#watcher = watch(dirname(this.#path), { persistent: false }, (_event, changed) => {
        if (changed === null || changed === name) this.#schedule();
      });
      // Polling goes on: a watch may be lost (directory removed, kernel limits) without the file being lost.
      this.#watcher.on('error', () => this.#watcher?.close());
    } catch (error) {
      this.#options.onError(
        new ConfigError(
          dirname(this.#path),
          `the directory cannot be watched (${(error as NodeJS.ErrnoException).code})`,
          'Changes are found by polling instead.',
        ),
      );
    }
  }

  #schedule(): void {
    if (!this.#started) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#reloadIfChanged(), this.#options.quietMs ?? QUIET_MS);
    this.#timer.unref();
  }

  #reloadIfChanged(): void {
    this.#timer = null;
    if (stateOf(this.#path) === this.#seen) return;
    const result = this.reload();
    if (!result.ok) this.#options.onError(result.error);
  }
}

/** What changes when a file does: another inode, size, owner, mode or time. The error code where there is no file. */
function stateOf(path: string): string {
  try {
    const stat = statSync(path, { bigint: true });
    return [stat.dev, stat.ino, stat.size, stat.mode, stat.uid, stat.gid, stat.mtimeNs, stat.ctimeNs].join(
      ' ',
    );
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'unknown';
  }
}

/** Notices when one of several files has changed, and tells once they have been quiet for a while. */
import { statSync, unwatchFile, watchFile } from 'node:fs';

export interface WatchTimes {
  /** How often the files are looked at. */
  readonly pollMs: number;
  /** How long all of them must be quiet: a certificate and its key are two files, written one after the other. */
  readonly quietMs: number;
}

/**
 * Polling alone: these files are often symbolic links that others turn (Kubernetes secrets, certbot's `live`), where the watch of a
 * folder hears nothing. The look is `stat` in a thread of libuv.
 */
export const WATCH_TIMES: WatchTimes = { pollMs: 1_000, quietMs: 1_500 };

/** Watches from `start` to `stop`. Does not hold the process open. */
export class FilesWatch {
  readonly #files: readonly string[];
  readonly #times: WatchTimes;
  readonly #onChanged: () => void;
  readonly #touched = () => this.#schedule();
  /** The states that were last told of, or that `seen` took note of. */
  #known: string;
  #timer: NodeJS.Timeout | null = null;
  #started = false;

  /** @param onChanged called once for each new state of the files; must not throw */
  constructor(files: readonly string[], onChanged: () => void, times: WatchTimes = WATCH_TIMES) {
    this.#files = files;
    this.#onChanged = onChanged;
    this.#times = times;
    this.#known = '';
    this.seen();
  }

  /** Takes the files as they are for known. To be called before they are read: what changes meanwhile is told of. */
  seen(): void {
    this.#known = this.#states();
  }

  start(): void {
    if (this.#started) return;
    this.#started = true;
    for (const file of this.#files) {
      watchFile(file, { interval: this.#times.pollMs, persistent: false }, this.#touched);
    }
    // They may have changed between the first reading and now.
    this.#schedule();
  }

  stop(): void {
    this.#started = false;
    for (const file of this.#files) unwatchFile(file, this.#touched);
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #schedule(): void {
    if (!this.#started) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#tell(), this.#times.quietMs);
    this.#timer.unref();
  }

  #tell(): void {
    this.#timer = null;
    const states = this.#states();
    if (states === this.#known) return;
    this.#known = states;
    this.#onChanged();
  }

  #states(): string {
    return this.#files.map(stateOf).join('\n');
  }
}

/** What changes when a file does. The error code where there is no file. */
function stateOf(path: string): string {
  try {
    const { dev, ino, size, mode, uid, gid, mtimeNs, ctimeNs } = statSync(path, { bigint: true });
    return [dev, ino, size, mode, uid, gid, mtimeNs, ctimeNs].join(' ');
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'unknown';
  }
}

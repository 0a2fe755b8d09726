/**
 * Looks at SQLite's write-ahead log. At start SQLite takes the first frame that does not fit for the end of the log: right after a
 * crash in the midst of a write, but damage in the middle would cut away what was committed behind it, without a word.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

const HEADER_BYTES = 32;
const FRAME_HEADER_BYTES = 24;
const MAGIC = 0x377f0682;
const PAGE_BYTES_MIN = 512;
const PAGE_BYTES_MAX = 65_536;
/** Frames read at once; bounds the memory. */
const FRAMES_AT_ONCE = 256;
/**
 * A crash leaves at most one transaction half written, so at most one commit in a row behind a frame that does not fit.
 */
const TORN_COMMITS_MAX = 1;

/** What a log holds. */
export interface LogReport {
  /** Frames that SQLite will take. */
  readonly frames: number;
  /** Null, or what is wrong and where. */
  readonly problem: { readonly where: string; readonly what: string } | null;
}

/** Two 32-bit sums, SQLite's checksum of a log. */
type Sums = [number, number];

/**
 * Reads the whole log.
 * @param file the log; missing or empty is fine
 */
export function inspectLog(file: string): LogReport {
  let descriptor: number;
  try {
    descriptor = openSync(file, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { frames: 0, problem: null };
    throw error;
  }
  try {
    return inspect(descriptor, fstatSync(descriptor).size);
  } finally {
    closeSync(descriptor);
  }
}

function inspect(descriptor: number, bytes: number): LogReport {
  const header = Buffer.alloc(HEADER_BYTES);
  if (bytes < HEADER_BYTES + FRAME_HEADER_BYTES) return { frames: 0, problem: null };
  readSync(descriptor, header, 0, HEADER_BYTES, 0);
  const walk = new FrameWalk(header);
  const frameBytes = FRAME_HEADER_BYTES + walk.pageBytes;
  const chunk = Buffer.allocUnsafe(frameBytes * FRAMES_AT_ONCE);
  for (let position = HEADER_BYTES; position + frameBytes <= bytes; ) {
    const got = readSync(descriptor, chunk, 0, chunk.length, position);
    const frames = Math.floor(got / frameBytes);
    if (frames === 0) break;
    for (let i = 0; i < frames; i++) walk.take(chunk.subarray(i * frameBytes, (i + 1) * frameBytes));
    position += frames * frameBytes;
  }
  return walk.report();
}

/** Goes from frame to frame; behind one that does not fit it goes on with the sums that the frame itself names. */
class FrameWalk {
  readonly pageBytes: number;
  readonly #isHeaderSound: boolean;
  readonly #bigEndian: boolean;
  readonly #salt = Buffer.alloc(8);
  #sums: Sums = [0, 0];
  #number = 0;
  #sound = 0;
  #firstBad = 0;
  #commitsInRow = 0;
  #commitsLost = 0;

  constructor(header: Buffer) {
    const magic = header.readUInt32BE(0);
    const pageBytes = header.readUInt32BE(8);
    this.#bigEndian = (magic & 1) === 1;
    const sums = addUp(header.subarray(0, 24), [0, 0], this.#bigEndian);
    const isPageSize = pageBytes >= PAGE_BYTES_MIN && pageBytes <= PAGE_BYTES_MAX;
    this.#isHeaderSound =
      (magic & ~1) === MAGIC &&
      isPageSize &&
      sums[0] === header.readUInt32BE(24) &&
      sums[1] === header.readUInt32BE(28);
    this.pageBytes = this.#isHeaderSound ? pageBytes : 4_096;
    if (!this.#isHeaderSound) this.#bigEndian = false;
    header.copy(this.#salt, 0, 16, 24);
    this.#sums = sums;
  }

  take(frame: Buffer): void {
    this.#number++;
    // Without a header, the first frame says which salt its log has.
    if (!this.#isHeaderSound && this.#number === 1) frame.copy(this.#salt, 0, 8, 16);
    const sums = addUp(
      frame.subarray(FRAME_HEADER_BYTES),
      addUp(frame.subarray(0, 8), this.#sums, this.#bigEndian),
      this.#bigEndian,
    );
    const named: Sums = [frame.readUInt32BE(16), frame.readUInt32BE(20)];
    const fits = this.#salt.compare(frame, 8, 16) === 0 && sums[0] === named[0] && sums[1] === named[1];
    this.#sums = named;
    if (this.#firstBad === 0 && fits && this.#isHeaderSound) {
      this.#sound++;
      return;
    }
    if (this.#firstBad === 0) this.#firstBad = this.#number;
    if (!fits) this.#commitsInRow = 0;
    else if (frame.readUInt32BE(4) !== 0) {
      this.#commitsInRow++;
      this.#commitsLost = Math.max(this.#commitsLost, this.#commitsInRow);
    }
  }

  report(): LogReport {
    if (this.#commitsLost <= TORN_COMMITS_MAX) return { frames: this.#sound, problem: null };
    const where = this.#isHeaderSound ? `frame ${this.#firstBad} of the log` : 'header of the log';
    const what = `it is damaged, and ${this.#commitsLost} commits stand behind it`;
    return { frames: this.#sound, problem: { where, what } };
  }
}

/** SQLite's sums over a multiple of eight bytes (the file format's section 4.2). */
function addUp(bytes: Buffer, from: Sums, bigEndian: boolean): Sums {
  let [a, b] = from;
  for (let at = 0; at + 8 <= bytes.length; at += 8) {
    const first = bigEndian ? bytes.readUInt32BE(at) : bytes.readUInt32LE(at);
    const second = bigEndian ? bytes.readUInt32BE(at + 4) : bytes.readUInt32LE(at + 4);
    a = (a + first + b) >>> 0;
    b = (b + second + a) >>> 0;
  }
  return [a, b];
}

/** Reads the retained messages at start: there can be a million. */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { StoredMessage } from '../../src/interfaces/store.ts';
import { StoreDamage } from './damage.ts';
import { checkBody } from './page.ts';
import { readBody } from './records.ts';

/** Bodies up to this size are read many at once: a buffer of its own for each takes several times its space, and time to collect. */
const SMALL_BODY_BYTES_MAX = 1_024;
/** Messages whose handles differ only in what is below this come together; bounds the memory they share. */
const GROUP_HANDLES = 256;

const FROM = 'FROM retained r LEFT JOIN message m ON m.id = r.message';
/** Joining text leaves the bytes of blobs as they are; and were it not so, their checksums would tell. */
const SMALL = `SELECT count(*), group_concat(r.message), group_concat(m.checksum), group_concat(length(m.body)),
  CAST(group_concat(m.body, '') AS BLOB) ${FROM} WHERE ifnull(length(m.body), 0) <= ${SMALL_BODY_BYTES_MAX}
  GROUP BY r.message / ${GROUP_HANDLES}`;
const LARGE = `SELECT r.message, m.checksum, m.body ${FROM} WHERE length(m.body) > ${SMALL_BODY_BYTES_MAX}`;

type SmallRow = [
  count: number,
  handles: string,
  checksums: string | null,
  lengths: string | null,
  Uint8Array,
];
type LargeRow = [handle: number, checksum: number, body: Uint8Array];

/** All retained messages; small ones share buffers. */
export function* readRetained(db: DatabaseSync, offsetMs: number): Generator<StoredMessage> {
  for (const row of arrays(db, SMALL).iterate() as unknown as Iterable<SmallRow>) {
    const [count, handles, checksums, lengths, bodies] = row;
    const all = { handles: numbers(handles), checksums: numbers(checksums), lengths: numbers(lengths) };
    if (all.lengths.length !== count)
      throw new StoreDamage(`retained ${handles}`, 'one of the messages is not there');
    let start = 0;
    for (let i = 0; i < count; i++) {
      const body = Buffer.from(bodies.buffer, bodies.byteOffset + start, all.lengths[i]);
      checkBody(all.handles[i], all.checksums[i], body);
      yield readBody(body, all.handles[i], offsetMs);
      start += body.length;
    }
  }
  for (const row of arrays(db, LARGE).iterate() as unknown as Iterable<LargeRow>) {
    const [handle, checksum, body] = row;
    checkBody(handle, checksum, body);
    yield readBody(body, handle, offsetMs);
  }
}

function numbers(list: string | null): number[] {
  return list === null ? [] : list.split(',').map(Number);
}

/** A statement whose rows are arrays. */
export function arrays(db: DatabaseSync, sql: string): StatementSync {
  const statement = db.prepare(sql);
  statement.setReturnArrays(true);
  return statement;
}

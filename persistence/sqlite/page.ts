/** A page of a session's queue: read and checked where the database is, taken apart where it was asked for. */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { StoredDelivery, StoredMessage } from '../../src/interfaces/store.ts';
import type { PageOrder } from './apply.ts';
import { StoreDamage } from './damage.ts';
import { deliveryChecksum, messageChecksum, readBody, readDeliveryFlags, readExtra } from './records.ts';

/** A page as it travels. */
export interface Page {
  readonly request: number;
  readonly count: number;
  /** Each delivery: session, position and message (doubles), flags, bytes of the extra blob + 1 and of the body + 1 (words), then both. */
  readonly bytes: ArrayBuffer;
}

/** Columns as `PageReader` selects them; everything behind `checksum` is null when the message is missing. */
export type DeliveryRow = [
  session: number,
  position: number,
  message: number,
  bytes: number,
  flags: number,
  packet: number,
  extra: Uint8Array | null,
  checksum: number,
  refs: number | null,
  bodyChecksum: number | null,
  body: Uint8Array | null,
];

/** Selects what `DeliveryRow` says. */
export const SELECT_DELIVERIES =
  'SELECT d.session, d.position, d.message, d.bytes, d.flags, d.packet, d.extra, d.checksum, m.refs, m.checksum, m.body' +
  ' FROM delivery d LEFT JOIN message m ON m.id = d.message';

/**
 * Looks whether a delivery and its message are what was written.
 * @returns the body
 * @throws StoreDamage
 */
export function checkDelivery(row: DeliveryRow): Uint8Array {
  const [session, position, message, bytes, flags, packet, extra, checksum, , bodyChecksum, body] = row;
  const where = `delivery ${position} of session ${session}`;
  if (checksum !== deliveryChecksum(session, position, message, bytes, flags, packet, extra?.length ?? 0))
    throw new StoreDamage(where, 'its checksum does not fit');
  if (body === null) throw new StoreDamage(where, `message ${message}, which it points to, is not there`);
  checkBody(message, bodyChecksum as number, body);
  return body;
}

/** @throws StoreDamage when the body of a message is not what was written */
export function checkBody(message: number, checksum: number, body: Uint8Array): void {
  if (checksum !== messageChecksum(message, body))
    throw new StoreDamage(`message ${message}`, 'its checksum does not fit');
}

const HEAD_BYTES = 36;

/** Reads pages on the store's own thread. */
export class PageReader {
  readonly #select: StatementSync;

  constructor(db: DatabaseSync) {
    this.#select = db.prepare(
      `${SELECT_DELIVERIES} WHERE d.session = ? AND d.position > ? AND d.packet = 0 ORDER BY d.position`,
    );
    this.#select.setReturnArrays(true);
  }

  /** @throws StoreDamage rather than give a row that is not what was written */
  read({ session, after, messagesMax, bytesMax, request }: PageOrder): Page {
    const rows: DeliveryRow[] = [];
    let size = 0;
    let counted = 0;
    if (messagesMax > 0) {
      for (const row of this.#select.iterate(session, after) as unknown as Iterable<DeliveryRow>) {
        const body = checkDelivery(row);
        // The same body is not sent twice in a row.
        if (rows.at(-1)?.[2] === row[2]) row[10] = null;
        else size += body.length;
        size += HEAD_BYTES + (row[6]?.length ?? 0);
        counted += row[3];
        rows.push(row);
        if (rows.length >= messagesMax || counted >= bytesMax) break;
      }
    }
    return { request, count: rows.length, bytes: join(rows, size) };
  }
}

function join(rows: readonly DeliveryRow[], size: number): ArrayBuffer {
  const memory = new ArrayBuffer(size);
  const bytes = Buffer.from(memory);
  let end = 0;
  for (const [session, position, message, , flags, , extra, , , , body] of rows) {
    end = bytes.writeDoubleLE(session, end);
    end = bytes.writeDoubleLE(position, end);
    end = bytes.writeDoubleLE(message, end);
    end = bytes.writeUInt32LE(flags, end);
    end = bytes.writeUInt32LE(extra === null ? 0 : extra.length + 1, end);
    end = bytes.writeUInt32LE(body === null ? 0 : body.length + 1, end);
    for (const part of [extra, body]) {
      if (part === null) continue;
      bytes.set(part, end);
      end += part.length;
    }
  }
  return memory;
}

/** The deliveries of a page. Their payloads and properties are views of its bytes. */
export function decodePage({ count, bytes: memory }: Page, offsetMs: number): StoredDelivery[] {
  const bytes = Buffer.from(memory);
  const deliveries: StoredDelivery[] = [];
  let message: StoredMessage | null = null;
  let at = 0;
  for (let i = 0; i < count; i++) {
    const session = bytes.readDoubleLE(at);
    const position = bytes.readDoubleLE(at + 8);
    const extraLength = bytes.readUInt32LE(at + 28);
    const bodyLength = bytes.readUInt32LE(at + 32);
    const extraStart = at + HEAD_BYTES;
    const bodyStart = extraStart + Math.max(0, extraLength - 1);
    const end = bodyStart + Math.max(0, bodyLength - 1);
    if (bodyLength > 0 || message === null)
      message = readBody(bytes.subarray(bodyStart, end), bytes.readDoubleLE(at + 16), offsetMs);
    const extra = extraLength === 0 ? null : bytes.subarray(extraStart, bodyStart);
    const { qos, retain, released } = readDeliveryFlags(bytes.readUInt32LE(at + 24));
    const { identifiers, sharedFilter } = readExtra(extra, session, position);
    deliveries.push({ position, message, qos, retain, identifiers, sharedFilter, packetId: 0, released });
    at = end;
  }
  return deliveries;
}

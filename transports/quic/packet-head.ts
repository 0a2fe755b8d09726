/** The unencrypted head of a QUIC packet (RFC 9000, section 17), as far as one must read it to know whose it is. */

/** Length of the connection ids made here: enough that nobody guesses one. */
export const CONNECTION_ID_BYTES = 16;
/** RFC 9000, 17.2 */
const CONNECTION_ID_BYTES_MAX = 20;
/** RFC 9000, 8.1: a client pads its first packets to this, so that answers cannot amplify. */
export const INITIAL_BYTES_MIN = 1_200;

export interface PacketHead {
  readonly isLong: boolean;
  /** QUIC version; 0 in a short head. */
  readonly version: number;
  /** The packet opens a connection. The layout of other versions is unknown, so only of 1. */
  readonly isInitial: boolean;
  readonly dcid: Buffer;
  /** Empty in a short head. */
  readonly scid: Buffer;
  /** Empty when there is none. */
  readonly token: Buffer;
}

const NONE = Buffer.alloc(0);

/** Reads the head of the first packet in a datagram. Null: it is no QUIC, or not for anybody here. Never throws. */
export function readPacketHead(datagram: Buffer): PacketHead | null {
  if (datagram.length < 1 + CONNECTION_ID_BYTES) return null;
  if ((datagram[0] & 0x80) === 0) {
    const dcid = datagram.subarray(1, 1 + CONNECTION_ID_BYTES);
    return { isLong: false, version: 0, isInitial: false, dcid, scid: NONE, token: NONE };
  }
  const version = datagram.readUInt32BE(1);
  const dcid = readId(datagram, 5);
  if (dcid === null) return null;
  const scid = readId(datagram, 6 + dcid.length);
  if (scid === null) return null;
  const isInitial = version === 1 && (datagram[0] & 0x30) === 0;
  const token = isInitial ? readToken(datagram, 7 + dcid.length + scid.length) : NONE;
  if (token === null) return null;
  return { isLong: true, version, isInitial, dcid, scid, token };
}

function readId(datagram: Buffer, at: number): Buffer | null {
  if (at >= datagram.length) return null;
  const length = datagram[at];
  const end = at + 1 + length;
  return length > CONNECTION_ID_BYTES_MAX || end > datagram.length ? null : datagram.subarray(at + 1, end);
}

/** A token longer than two bytes can count is none of ours. */
function readToken(datagram: Buffer, at: number): Buffer | null {
  if (at + 2 > datagram.length) return null;
  const first = datagram[at];
  if (first >= 0x80) return null;
  const isShort = first < 0x40;
  const length = isShort ? first : datagram.readUInt16BE(at) & 0x3fff;
  const start = at + (isShort ? 1 : 2);
  return start + length > datagram.length ? null : datagram.subarray(start, start + length);
}

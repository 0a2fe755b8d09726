/** WebTransport from below: HTTP/3 (RFC 9114) frame by frame over a QUIC connection, as far as the door must answer it. */
import type { RawClient } from '../../contract/transport.ts';
import { varint } from './quic-packets.ts';
import { QuicPeer, type QuicPeerOptions } from './quic-peer.ts';

/** The stream of the request, which is the session's id. */
const CONNECT_STREAM = 0;
/** A client's first unidirectional stream. */
export const CONTROL_STREAM = 2;
/** The first that MQTT can go over. */
export const FIRST_STREAM = 4;

/** An HTTP/3 frame. */
export function frame(type: number, payload: Uint8Array): Buffer {
  return Buffer.concat([varint(type), varint(payload.length), payload]);
}

/** The stream's type and SETTINGS: extended CONNECT, datagrams, WebTransport in two spellings. */
export const CONTROL: Buffer = Buffer.concat([
  varint(0),
  frame(4, Buffer.concat([0x08, 1, 0x33, 1, 0x2b60_3742, 1, 0x14e9_cd29, 1].map((value) => varint(value)))),
]);

/** A field line with a literal name (RFC 9204, 4.5.6), nothing compressed. */
export function field(name: string, value: string): Buffer {
  const length = name.length < 7 ? [0x20 | name.length] : [0x27, name.length - 7];
  return Buffer.concat([Buffer.from(length), Buffer.from(name), prefixed(value.length), Buffer.from(value)]);
}

/** An integer with a prefix of seven bits (RFC 7541, 5.1). */
function prefixed(value: number): Buffer {
  if (value < 127) return Buffer.from([value]);
  const bytes = [127];
  let rest = value - 127;
  for (; rest >= 128; rest >>>= 7) bytes.push((rest & 127) | 128);
  return Buffer.from([...bytes, rest]);
}

/** HEADERS that ask for a session, with more field lines where wanted. */
export function request(path = '/mqtt', ...more: Uint8Array[]): Buffer {
  const lines = [
    field(':method', 'CONNECT'),
    field(':protocol', 'webtransport'),
    field(':scheme', 'https'),
    field(':authority', 'localhost'),
    field(':path', path),
  ];
  return frame(1, Buffer.concat([Buffer.from([0, 0]), ...lines, ...more]));
}

/** What a WebTransport stream of the session begins with. */
export const STREAM_HEAD: Buffer = Buffer.concat([varint(0x41), varint(CONNECT_STREAM)]);

export class Http3Peer {
  readonly quic: QuicPeer;
  /** The request was answered. */
  isAnswered = false;

  private constructor(quic: QuicPeer) {
    this.quic = quic;
    quic.onStream(CONNECT_STREAM, () => {
      this.isAnswered = true;
    });
  }

  /** A connection on which nothing was said yet. */
  static async open(port: number, options: QuicPeerOptions = {}): Promise<Http3Peer> {
    return new Http3Peer(await QuicPeer.open(port, { ...options, protocol: 'h3' }));
  }

  /** A connection with its session; `quic.isOver` when the door did not want it. */
  static async session(port: number, options: QuicPeerOptions = {}): Promise<Http3Peer> {
    const peer = await Http3Peer.open(port, options);
    peer.quic.send(CONTROL_STREAM, CONTROL);
    peer.quic.send(CONNECT_STREAM, request());
    await peer.quic.until(() => peer.isAnswered);
    return peer;
  }

  /** The session's stream for MQTT. */
  stream(): RawClient {
    return this.quic.stream(FIRST_STREAM, STREAM_HEAD);
  }
}

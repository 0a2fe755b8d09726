import { decodePacket } from '../codec/decode.ts';
import { type Packet, PacketType } from '../codec/packets.ts';
import { ReasonCode } from '../codec/reason-codes.ts';
import type { Connection } from '../connection/connection.ts';
import type { PacketStream } from '../connection/packet-stream.ts';
import { ProtocolError } from '../errors.ts';
import { handleAuth } from './auth.ts';
import { handleConnect } from './connect.ts';
import { handleDisconnect } from './disconnect.ts';
import { handlePingreq } from './pingreq.ts';
import { handlePuback } from './puback.ts';
import { handlePubcomp } from './pubcomp.ts';
import { handlePublish } from './publish.ts';
import { handlePubrec } from './pubrec.ts';
import { handlePubrel } from './pubrel.ts';
import { handleSubscribe } from './subscribe.ts';
import { handleUnsubscribe } from './unsubscribe.ts';

/** Gives one packet to its handler. PUBLISH is read in place; the others are rare enough to become objects. Throws ProtocolError. */
export function dispatchPacket(
  connection: Connection,
  buffer: Buffer,
  start: number,
  bodyStart: number,
  end: number,
): void {
  const first = buffer[start];
  if (connection.state === 'connected') {
    if (!dispatchInPlace(connection, buffer, start, bodyStart, end))
      handlePacket(connection, decode(connection, buffer, first, bodyStart, end));
    return;
  }
  if (connection.state === 'authenticating') {
    handleBeforeVerdict(connection, decode(connection, buffer, first, bodyStart, end));
    return;
  }
  if (connection.state !== 'new') return;
  // [MQTT-3.1.0-1] the first packet is a CONNECT
  if (first >> 4 !== PacketType.CONNECT)
    throw new ProtocolError(ReasonCode.PROTOCOL_ERROR, 'the first packet is not a CONNECT');
  const packet = decode(connection, buffer, first, bodyStart, end);
  if (packet.type === PacketType.CONNECT) handleConnect(connection, packet);
}

/** The same for a packet on a data stream, of a type that belongs there, when the client has logged in. */
export function dispatchOnStream(
  stream: PacketStream,
  buffer: Buffer,
  start: number,
  bodyStart: number,
  end: number,
): void {
  if (dispatchInPlace(stream, buffer, start, bodyStart, end)) return;
  const packet = decode(stream.connection, buffer, buffer[start], bodyStart, end);
  if (!handleSessionPacket(stream, packet)) throw fromServersOnly(packet);
}

/** True when it was a PUBLISH, or the short form of an acknowledgement: these need no object. */
function dispatchInPlace(
  stream: PacketStream,
  buffer: Buffer,
  start: number,
  bodyStart: number,
  end: number,
): boolean {
  const first = buffer[start];
  if (first >> 4 === PacketType.PUBLISH) {
    handlePublish(stream, buffer, start, bodyStart, end);
    return true;
  }
  return (
    end - bodyStart === 2 && acknowledge(stream, first, (buffer[bodyStart] << 8) | buffer[bodyStart + 1])
  );
}

function decode(
  connection: Connection,
  buffer: Buffer,
  first: number,
  bodyStart: number,
  end: number,
): Packet {
  const { version, door } = connection;
  return decodePacket(buffer, first, bodyStart, end, version, 'client', door.limits.userPropertiesMax);
}

/** [MQTT-3.1.2-30] while an enhanced authentication is under way, AUTH and DISCONNECT are all there is. */
function handleBeforeVerdict(connection: Connection, packet: Packet): void {
  switch (packet.type) {
    case PacketType.AUTH:
      handleAuth(connection, packet);
      return;
    case PacketType.DISCONNECT:
      connection.endedBy = 'client';
      connection.close(packet.reasonCode);
      return;
    default:
      throw new ProtocolError(
        ReasonCode.PROTOCOL_ERROR,
        `packet type ${packet.type} before the authentication is over`,
      );
  }
}

/** True when it was an acknowledgement with reason code 0 and a packet identifier. */
function acknowledge(stream: PacketStream, first: number, packetId: number): boolean {
  if (packetId === 0) return false;
  switch (first) {
    case 0x40:
      handlePuback(stream.connection, packetId);
      return true;
    case 0x50:
      handlePubrec(stream, packetId, ReasonCode.SUCCESS);
      return true;
    case 0x62:
      handlePubrel(stream, packetId);
      return true;
    case 0x70:
      handlePubcomp(stream.connection, packetId);
      return true;
    default:
      return false;
  }
}

function handlePacket(connection: Connection, packet: Packet): void {
  if (handleSessionPacket(connection, packet)) return;
  switch (packet.type) {
    case PacketType.PINGREQ:
      handlePingreq(connection);
      return;
    case PacketType.DISCONNECT:
      handleDisconnect(connection, packet);
      return;
    case PacketType.AUTH:
      handleAuth(connection, packet);
      return;
    case PacketType.CONNECT:
      // [MQTT-3.1.0-2]
      throw new ProtocolError(ReasonCode.PROTOCOL_ERROR, 'a second CONNECT');
    default:
      throw fromServersOnly(packet);
  }
}

/** What a data stream may carry as well. False: it is another packet. */
function handleSessionPacket(stream: PacketStream, packet: Packet): boolean {
  switch (packet.type) {
    case PacketType.PUBACK:
      handlePuback(stream.connection, packet.packetId);
      return true;
    case PacketType.PUBREC:
      handlePubrec(stream, packet.packetId, packet.reasonCode);
      return true;
    case PacketType.PUBREL:
      handlePubrel(stream, packet.packetId);
      return true;
    case PacketType.PUBCOMP:
      handlePubcomp(stream.connection, packet.packetId);
      return true;
    case PacketType.SUBSCRIBE:
      handleSubscribe(stream, packet);
      return true;
    case PacketType.UNSUBSCRIBE:
      handleUnsubscribe(stream, packet);
      return true;
    default:
      return false;
  }
}

function fromServersOnly({ type }: Packet): ProtocolError {
  return new ProtocolError(ReasonCode.PROTOCOL_ERROR, `packet type ${type} comes from servers only`);
}

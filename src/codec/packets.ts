/** The MQTT control packets as values. One type for the three versions; fields a version lacks hold their defaults. */

export type ProtocolVersion = 3 | 4 | 5;
export type QoS = 0 | 1 | 2;

/** Control packet types (MQTT 5.0 section 2.1.2). */
export const PacketType = {
  CONNECT: 1,
  CONNACK: 2,
  PUBLISH: 3,
  PUBACK: 4,
  PUBREC: 5,
  PUBREL: 6,
  PUBCOMP: 7,
  SUBSCRIBE: 8,
  SUBACK: 9,
  UNSUBSCRIBE: 10,
  UNSUBACK: 11,
  PINGREQ: 12,
  PINGRESP: 13,
  DISCONNECT: 14,
  AUTH: 15,
} as const;

/** MQTT 5.0 properties by their specification names; absent ones are undefined. User properties keep their order. */
export interface Properties {
  payloadFormatIndicator?: number;
  messageExpiryInterval?: number;
  contentType?: string;
  responseTopic?: string;
  correlationData?: Uint8Array;
  subscriptionIdentifiers?: number[];
  sessionExpiryInterval?: number;
  assignedClientIdentifier?: string;
  serverKeepAlive?: number;
  authenticationMethod?: string;
  authenticationData?: Uint8Array;
  requestProblemInformation?: number;
  willDelayInterval?: number;
  requestResponseInformation?: number;
  responseInformation?: string;
  serverReference?: string;
  reasonString?: string;
  receiveMaximum?: number;
  topicAliasMaximum?: number;
  topicAlias?: number;
  maximumQos?: number;
  retainAvailable?: number;
  userProperties?: [name: string, value: string][];
  maximumPacketSize?: number;
  wildcardSubscriptionAvailable?: number;
  subscriptionIdentifierAvailable?: number;
  sharedSubscriptionAvailable?: number;
}

export interface Will {
  topic: string;
  payload: Uint8Array;
  qos: QoS;
  retain: boolean;
  properties: Properties;
}

export interface ConnectPacket {
  type: 1;
  protocolVersion: ProtocolVersion;
  cleanStart: boolean;
  keepAliveSeconds: number;
  clientId: string;
  will: Will | null;
  username: string | null;
  password: Uint8Array | null;
  properties: Properties;
}
export interface ConnackPacket {
  type: 2;
  sessionPresent: boolean;
  /** MQTT 5.0 reason code, or the 3.x return code 0–5. */
  reasonCode: number;
  properties: Properties;
}
export interface PublishPacket {
  type: 3;
  dup: boolean;
  qos: QoS;
  retain: boolean;
  topic: string;
  /** 0 at QoS 0. */
  packetId: number;
  properties: Properties;
  payload: Uint8Array;
}
/** PUBACK, PUBREC, PUBREL, PUBCOMP. */
export interface AcknowledgePacket {
  type: 4 | 5 | 6 | 7;
  packetId: number;
  reasonCode: number;
  properties: Properties;
}
export interface SubscriptionRequest {
  filter: string;
  qos: QoS;
  noLocal: boolean;
  retainAsPublished: boolean;
  retainHandling: 0 | 1 | 2;
}
export interface SubscribePacket {
  type: 8;
  packetId: number;
  properties: Properties;
  subscriptions: SubscriptionRequest[];
}
export interface SubackPacket {
  type: 9;
  packetId: number;
  properties: Properties;
  reasonCodes: number[];
}
export interface UnsubscribePacket {
  type: 10;
  packetId: number;
  properties: Properties;
  filters: string[];
}
export interface UnsubackPacket {
  type: 11;
  packetId: number;
  properties: Properties;
  /** Empty in 3.x. */
  reasonCodes: number[];
}
export interface PingreqPacket {
  type: 12;
}
export interface PingrespPacket {
  type: 13;
}
export interface DisconnectPacket {
  type: 14;
  reasonCode: number;
  properties: Properties;
}
export interface AuthPacket {
  type: 15;
  reasonCode: number;
  properties: Properties;
}

export type Packet =
  | ConnectPacket
  | ConnackPacket
  | PublishPacket
  | AcknowledgePacket
  | SubscribePacket
  | SubackPacket
  | UnsubscribePacket
  | UnsubackPacket
  | PingreqPacket
  | PingrespPacket
  | DisconnectPacket
  | AuthPacket;

/** MQTT 5.0 reason codes (section 2.4), the one table. */
export const ReasonCode = {
  SUCCESS: 0x00,
  GRANTED_QOS_1: 0x01,
  GRANTED_QOS_2: 0x02,
  DISCONNECT_WITH_WILL: 0x04,
  NO_MATCHING_SUBSCRIBERS: 0x10,
  NO_SUBSCRIPTION_EXISTED: 0x11,
  CONTINUE_AUTHENTICATION: 0x18,
  RE_AUTHENTICATE: 0x19,
  UNSPECIFIED_ERROR: 0x80,
  MALFORMED_PACKET: 0x81,
  PROTOCOL_ERROR: 0x82,
  IMPLEMENTATION_SPECIFIC_ERROR: 0x83,
  UNSUPPORTED_PROTOCOL_VERSION: 0x84,
  CLIENT_IDENTIFIER_NOT_VALID: 0x85,
  BAD_USER_NAME_OR_PASSWORD: 0x86,
  NOT_AUTHORIZED: 0x87,
  SERVER_UNAVAILABLE: 0x88,
  SERVER_BUSY: 0x89,
  BANNED: 0x8a,
  SERVER_SHUTTING_DOWN: 0x8b,
  BAD_AUTHENTICATION_METHOD: 0x8c,
  KEEP_ALIVE_TIMEOUT: 0x8d,
  SESSION_TAKEN_OVER: 0x8e,
  TOPIC_FILTER_INVALID: 0x8f,
  TOPIC_NAME_INVALID: 0x90,
  PACKET_IDENTIFIER_IN_USE: 0x91,
  PACKET_IDENTIFIER_NOT_FOUND: 0x92,
  RECEIVE_MAXIMUM_EXCEEDED: 0x93,
  TOPIC_ALIAS_INVALID: 0x94,
  PACKET_TOO_LARGE: 0x95,
  MESSAGE_RATE_TOO_HIGH: 0x96,
  QUOTA_EXCEEDED: 0x97,
  ADMINISTRATIVE_ACTION: 0x98,
  PAYLOAD_FORMAT_INVALID: 0x99,
  RETAIN_NOT_SUPPORTED: 0x9a,
  QOS_NOT_SUPPORTED: 0x9b,
  USE_ANOTHER_SERVER: 0x9c,
  SERVER_MOVED: 0x9d,
  SHARED_SUBSCRIPTIONS_NOT_SUPPORTED: 0x9e,
  CONNECTION_RATE_EXCEEDED: 0x9f,
  MAXIMUM_CONNECT_TIME: 0xa0,
  SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED: 0xa1,
  WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED: 0xa2,
} as const;

export interface ReasonCodeInfo {
  /** The specification's name. */
  readonly name: string;
  /** Bit `1 << packetType` is set for every packet in which a client, and a server, may send the code. */
  readonly fromClient: number;
  readonly fromServer: number;
}

const CONNACK = 1 << 2;
const RECEIVED = (1 << 4) | (1 << 5);
const RELEASED = (1 << 6) | (1 << 7);
const SUBACK = 1 << 9;
const UNSUBACK = 1 << 11;
const DISCONNECT = 1 << 14;
const AUTH = 1 << 15;
const GRANTED = SUBACK | UNSUBACK;

/** Rows of table 2-6: code, name, packets of a client, packets of a server. */
const ROWS: readonly (readonly [number, string, number, number])[] = [
  [
    0x00,
    'Success',
    RECEIVED | RELEASED | DISCONNECT,
    CONNACK | RECEIVED | RELEASED | GRANTED | DISCONNECT | AUTH,
  ],
  [0x01, 'Granted QoS 1', 0, SUBACK],
  [0x02, 'Granted QoS 2', 0, SUBACK],
  [0x04, 'Disconnect with Will Message', DISCONNECT, 0],
  [0x10, 'No matching subscribers', 0, RECEIVED],
  [0x11, 'No subscription existed', 0, UNSUBACK],
  [0x18, 'Continue authentication', AUTH, AUTH],
  [0x19, 'Re-authenticate', AUTH, 0],
  [0x80, 'Unspecified error', RECEIVED | DISCONNECT, CONNACK | RECEIVED | GRANTED | DISCONNECT],
  [0x81, 'Malformed Packet', DISCONNECT, CONNACK | DISCONNECT],
  [0x82, 'Protocol Error', DISCONNECT, CONNACK | DISCONNECT],
  [0x83, 'Implementation specific error', RECEIVED | DISCONNECT, CONNACK | RECEIVED | GRANTED | DISCONNECT],
  [0x84, 'Unsupported Protocol Version', 0, CONNACK],
  [0x85, 'Client Identifier not valid', 0, CONNACK],
  [0x86, 'Bad User Name or Password', 0, CONNACK],
  [0x87, 'Not authorized', RECEIVED, CONNACK | RECEIVED | GRANTED | DISCONNECT],
  [0x88, 'Server unavailable', 0, CONNACK],
  [0x89, 'Server busy', 0, CONNACK | DISCONNECT],
  [0x8a, 'Banned', 0, CONNACK],
  [0x8b, 'Server shutting down', 0, DISCONNECT],
  [0x8c, 'Bad authentication method', 0, CONNACK | DISCONNECT],
  [0x8d, 'Keep Alive timeout', 0, DISCONNECT],
  [0x8e, 'Session taken over', 0, DISCONNECT],
  [0x8f, 'Topic Filter invalid', 0, GRANTED | DISCONNECT],
  [0x90, 'Topic Name invalid', RECEIVED | DISCONNECT, CONNACK | RECEIVED | DISCONNECT],
  [0x91, 'Packet Identifier in use', RECEIVED, RECEIVED | GRANTED],
  [0x92, 'Packet Identifier not found', RELEASED, RELEASED],
  [0x93, 'Receive Maximum exceeded', DISCONNECT, DISCONNECT],
  [0x94, 'Topic Alias invalid', DISCONNECT, DISCONNECT],
  [0x95, 'Packet too large', DISCONNECT, CONNACK | DISCONNECT],
  [0x96, 'Message rate too high', DISCONNECT, DISCONNECT],
  [0x97, 'Quota exceeded', RECEIVED | DISCONNECT, CONNACK | RECEIVED | SUBACK | DISCONNECT],
  [0x98, 'Administrative action', DISCONNECT, DISCONNECT],
  [0x99, 'Payload format invalid', RECEIVED | DISCONNECT, CONNACK | RECEIVED | DISCONNECT],
  [0x9a, 'Retain not supported', 0, CONNACK | DISCONNECT],
  [0x9b, 'QoS not supported', 0, CONNACK | DISCONNECT],
  [0x9c, 'Use another server', 0, CONNACK | DISCONNECT],
  [0x9d, 'Server moved', 0, CONNACK | DISCONNECT],
  [0x9e, 'Shared Subscriptions not supported', 0, SUBACK | DISCONNECT],
  [0x9f, 'Connection rate exceeded', 0, CONNACK | DISCONNECT],
  [0xa0, 'Maximum connect time', 0, DISCONNECT],
  [0xa1, 'Subscription Identifiers not supported', 0, SUBACK | DISCONNECT],
  [0xa2, 'Wildcard Subscriptions not supported', 0, SUBACK | DISCONNECT],
];

/** What each code is called and which packets it may appear in, by code. */
export const REASON_CODES: ReadonlyMap<number, ReasonCodeInfo> = new Map(
  ROWS.map(([code, name, fromClient, fromServer]) => [code, { name, fromClient, fromServer }]),
);

/** Whether the sender (either, when not given) may send `code` in a packet of that type, MQTT 5.0. */
export function isReasonCodeAllowed(code: number, packetType: number, sender?: 'client' | 'server'): boolean {
  const info = REASON_CODES.get(code);
  if (info === undefined) return false;
  const client = sender === 'server' ? 0 : info.fromClient;
  const server = sender === 'client' ? 0 : info.fromServer;
  return ((client | server) & (1 << packetType)) !== 0;
}

/** Every bound of the broker, its default and the reason for it. A name ends in its unit: Max is a count. */

/** Bounds an operator can set (section `limits`); any listener may override those that concern its connections. */
export interface Limits {
  connectionsMax: number;
  packetBytesMax: number;
  connectPacketBytesMax: number;
  receiveMaximum: number;
  inflightMax: number;
  topicAliasMaximum: number;
  topicLevelsMax: number;
  topicBytesMax: number;
  clientIdBytesMax: number;
  userPropertiesMax: number;
  subscriptionsPerClientMax: number;
  queueMessagesMax: number;
  queueBytesMax: number;
  outBytesMax: number;
  dataStreamsMax: number;
  stalledReaderSeconds: number;
  messagesPerSecondMax: number;
  bytesPerSecondMax: number;
  subscribesPerSecondMax: number;
  connectsPerSecondMax: number;
  rateGraceSeconds: number;
  sessionsMax: number;
  retainedMessagesMax: number;
  retainedBytesMax: number;
  sessionExpiryMaxSeconds: number;
  sessionExpiry3xSeconds: number;
  messageExpiryMaxSeconds: number;
  keepAliveMaxSeconds: number;
  connectTimeoutSeconds: number;
  maximumQos: 0 | 1 | 2;
  retainAvailable: boolean;
  wildcardSubscriptionAvailable: boolean;
  sharedSubscriptionAvailable: boolean;
  subscriptionIdentifiersAvailable: boolean;
}

export const DEFAULT_LIMITS: Readonly<Limits> = Object.freeze({
  /** Sockets of one process; at 8 KB each an idle fleet of this size fits in 1 GB. */
  connectionsMax: 100_000,
  /** 1 MiB: beyond what telemetry needs, small enough that a thousand half-received packets fit in memory. */
  packetBytesMax: 1_048_576,
  /** A stranger may make us hold this much: room for a long JWT, a will and user properties. */
  connectPacketBytesMax: 65_536,
  /** What we grant each MQTT 5 client: unacknowledged QoS 1 and 2 publishes towards us. */
  receiveMaximum: 32,
  /**
   * Unacknowledged QoS 1 and 2 messages towards one client, or the client's own lower Receive Maximum. Wide, because every
   * window full costs a round trip: 32 takes two and a half times the CPU of 1000 a message (docs/performance.md). Their
   * bytes are bounded by `queueBytesMax` and `outBytesMax`.
   */
  inflightMax: 1_000,
  /** Aliases a connection may hold in each direction; each costs one topic string. */
  topicAliasMaximum: 32,
  /** Depth of the topic tree a name or filter may reach; matching walks one level a step. */
  topicLevelsMax: 128,
  /** Bytes of a topic name or filter; every level of it may become a node of the tree. */
  topicBytesMax: 4_096,
  /** Client ids are keys, log fields and user-visible names; real ones are short. */
  clientIdBytesMax: 1_024,
  /** User properties in one packet: bounds the work a single packet can ask for. */
  userPropertiesMax: 100,
  /** Filters one client may hold: bounds the share of the tree it can take. */
  subscriptionsPerClientMax: 10_000,
  /** Messages waiting for one session. */
  queueMessagesMax: 1_000,
  /** Bytes (topic, payload, properties) waiting for one session, and as many in flight: 1000 large messages must not be 1 GB. */
  queueBytesMax: 8_388_608,
  /** Unsent bytes towards one connection before QoS 0 to it is dropped and no more is read from it; QoS 1 and 2 wait from `OUT_AHEAD_BYTES_MAX` on in its queue. */
  outBytesMax: 1_048_576,
  /** Data streams of one connection at a time, where the transport has streams. As many as EMQX allows. */
  dataStreamsMax: 10,
  /**
   * How long the same 64 KiB may be on their way to a client that takes none of them; then its connection goes. Any link
   * that works is a hundred times faster, and what a reader who stands still holds is `outBytesMax` and its queue.
   */
  stalledReaderSeconds: 60,
  /** PUBLISH packets of one client; 0: no limit. What is right depends on the fleet, so that only an operator can say. */
  messagesPerSecondMax: 0,
  /** Bytes from one client, whatever is in them; 0: no limit. */
  bytesPerSecondMax: 0,
  /** Topic filters in SUBSCRIBE packets of one client; 0: no limit. Each new one makes the routes be looked up again. */
  subscribesPerSecondMax: 0,
  /** Connections that a listener takes; 0: no limit. */
  connectsPerSecondMax: 0,
  /** How long a client may be held back for a rate before it is disconnected; 0: it is held back for ever. */
  rateGraceSeconds: 60,
  /** Sessions kept, connected or not. */
  sessionsMax: 1_000_000,
  retainedMessagesMax: 1_000_000,
  /** 256 MiB of retained topics, payloads and properties. */
  retainedBytesMax: 268_435_456,
  /** One week: the longest a disconnected MQTT 5 session is kept, whatever it asked for. */
  sessionExpiryMaxSeconds: 604_800,
  /** One day: how long a disconnected 3.x session (clean session 0) is kept. */
  sessionExpiry3xSeconds: 86_400,
  /** 0: messages keep the expiry their publisher gave them, or none. */
  messageExpiryMaxSeconds: 0,
  /** The longest keep alive accepted; a lower setting is sent to MQTT 5 clients as Server Keep Alive. */
  keepAliveMaxSeconds: 65_535,
  /** From accept to a complete CONNECT; silent sockets go after this. */
  connectTimeoutSeconds: 10,
  maximumQos: 2,
  retainAvailable: true,
  wildcardSubscriptionAvailable: true,
  sharedSubscriptionAvailable: true,
  subscriptionIdentifiersAvailable: true,
});

/** Bounds for strangers: sockets that have not logged in, handshakes included (section `strangers`). 0: no such bound, but for `totalMax`. */
export interface StrangerLimits {
  totalMax: number;
  perAddressMax: number;
  perPrefixMax: number;
  connectsPerSecondPerAddressMax: number;
  connectBurstPerAddressMax: number;
  connectionsPerAddressMax: number;
}

export const DEFAULT_STRANGER_LIMITS: Readonly<StrangerLimits> = Object.freeze({
  /** At all doors together; at 40 KB each for a TLS handshake, 80 MB. The oldest makes room for the newest. */
  totalMax: 2_000,
  /** From one host. A login takes a fraction of a second, so that a fleet behind one address gets in all the same, in turns. */
  perAddressMax: 100,
  /** From one IPv4 /24 or IPv6 /48. */
  perPrefixMax: 400,
  /** Each handshake costs a millisecond of CPU: one host must not take more than a tenth of it for long. */
  connectsPerSecondPerAddressMax: 100,
  /** The devices behind one address that come back at once after an outage. */
  connectBurstPerAddressMax: 1_000,
  /** All sockets from one host, logged in or not. None: whole fleets sit behind one address. */
  connectionsPerAddressMax: 0,
});

/** Failed logins that cost nothing yet, and the longest delay (section `throttle`). */
export interface ThrottleLimits {
  /** Of one IPv4 address or IPv6 /64; also of one user from a network where he has logged in before. */
  readonly addressFailuresMax: number;
  /** Of one IPv4 /24 or IPv6 /48. */
  readonly networkFailuresMax: number;
  /** Of one user name from anywhere; from then on each network has one free try with it instead of many. */
  readonly userFailuresMax: number;
  /** The same of one client id. */
  readonly clientIdFailuresMax: number;
  readonly delayMaxSeconds: number;
}

export const DEFAULT_THROTTLE_LIMITS: Readonly<ThrottleLimits> = Object.freeze({
  /** A person who tries all his passwords, or a few devices set up wrongly behind one address. */
  addressFailuresMax: 10,
  /** Neighbours in a customer's network are mostly strangers to each other. */
  networkFailuresMax: 100,
  userFailuresMax: 20,
  clientIdFailuresMax: 20,
  /** Five minutes: 288 guesses a day, and a device that was set right is back before anybody comes looking. */
  delayMaxSeconds: 300,
});

/** When a client comes and goes too often (section `flapping`). */
export interface FlappingLimits {
  /** Logins of one client in a window; 0: any number. */
  readonly connectsMax: number;
  readonly windowSeconds: number;
  /** How long it is kept out then. */
  readonly banSeconds: number;
}

export const DEFAULT_FLAPPING_LIMITS: Readonly<FlappingLimits> = Object.freeze({
  /** Two a second for a minute: no script that publishes with a connection for each message gets there by accident. */
  connectsMax: 120,
  windowSeconds: 60,
  banSeconds: 300,
});

/** First size of a connection's out-buffer: a few acknowledgements; an idle connection keeps none. */
export const OUT_BUFFER_BYTES_MIN = 512;
/**
 * Unsent bytes towards one connection over which its QoS 1 and 2 messages stay in its queue: two writes, so that the kernel, which
 * has megabytes, never runs dry. A message in ten queues is there once, in ten out-buffers ten times.
 */
export const OUT_AHEAD_BYTES_MAX = 131_072;
/** At this size a connection's out-buffer is written at once instead of at the end of the turn. */
export const OUT_BUFFER_BYTES_MAX = 65_536;
/** Connections over `connectionsMax` that may still send a CONNECT, to be told why they are refused. */
export const REFUSED_CONNECTIONS_MAX = 100;
/** Bytes that a client may have sent behind its CONNECT while it waits for the verdict. */
export const UNAUTHENTICATED_BYTES_MAX = 131_072;
/** Authentication Data of one packet: SCRAM needs some hundred bytes, a token or a ticket of Kerberos a few thousand. */
export const AUTHENTICATION_DATA_BYTES_MAX = 4_096;
/** Times that a client is heard in one enhanced authentication: SCRAM's two messages, and one for a CONNECT without the first of them. */
export const AUTHENTICATION_STEPS_MAX = 3;
/** MQTT 5 reason code Quota exceeded (2.4): the error code that a stream is reset with which the core does not want. */
export const STREAM_REFUSED = 0x97;
/** Data streams that a client may open before its CONNECT is accepted. Nothing is read from them until then. */
export const DATA_STREAMS_EARLY_MAX = 4;
/** All data streams of a connection together may have `outBytesMax` unsent, a single one this part of it. */
export const DATA_STREAM_OUT_SHARE = 1 / 4;
/** Packets of one client that may wait for the store before its input stops. */
export const DEFERRED_PACKETS_MAX = 10_000;
/** The same while memory is short. */
export const DEFERRED_PACKETS_SHORT_MAX = 100;
/** Messages of one queue kept in memory while the store has them too: a few windows' worth; the rest is read when it is due. */
export const QUEUE_FRONT_MESSAGES_MAX = 1_000;
/** Bytes of one page read from the store: it ends with the message that reaches them. */
export const QUEUE_PAGE_BYTES_MAX = 1_048_576;
/** The same while `QUEUE_FRONTS_BYTES_MAX` is used up. */
export const QUEUE_PAGE_BYTES_MIN = 16_384;
/** Bytes that all queues together keep in memory of what is in the store: a hundred thousand queues must not be gigabytes. */
export const QUEUE_FRONTS_BYTES_MAX = 16_777_216;
/** What a delivery in memory costs beside the bytes of its message. */
export const DELIVERY_OVERHEAD_BYTES = 250;
/** Receivers in all routes remembered together; at about 100 bytes each, 10 MB. */
export const ROUTE_TARGETS_MAX = 100_000;
/** Topics whose route is remembered; at about 300 bytes each, 3 MB. */
export const ROUTES_MAX = 10_000;
/** Wills published in one turn of the event loop: a network that breaks takes thousands of clients with it, each with a will. */
export const WILLS_PER_TURN_MAX = 50;
/** Sessions ended in one turn because their time has come. Each takes its subscriptions and its queue along. */
export const SESSION_ENDS_PER_TURN_MAX = 50;
/** Steps of all walks through the retained messages in one turn, to a message or to none: a few milliseconds. */
export const RETAINED_STEPS_PER_TURN_MAX = 2_000;
/** How long a peer may take to accept our last bytes, in milliseconds, before it is cut off. */
export const END_TIMEOUT_MS = 5_000;
/** How long a peer may take to close behind us when the broker stops, in milliseconds: our last bytes are with the kernel by then. */
export const STOP_TIMEOUT_MS = 1_000;
/** How often keep alive, expiry and will delay are looked at, in milliseconds: the precision of all of them. */
export const SWEEP_INTERVAL_MS = 500;

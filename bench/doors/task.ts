/** What the load client is told to do, and what it answers: one JSON object each way. Types only. */

export type DoorName = 'tcp' | 'tls' | 'ws' | 'wss' | 'wt' | 'quic';

/** Where a door is, and what makes its client trust it. */
export interface Target {
  readonly door: DoorName;
  readonly host: string;
  readonly port: number;
  /** The authority that signed the certificate of the TLS doors; a PEM file. */
  readonly caFile: string;
  /** The WebTransport door's certificate, trusted by its hash; a PEM file. */
  readonly certificateFile: string;
  readonly user: string;
  readonly password: string;
  /** Of the QUIC client: as that of the kernel's TCP. That of the WebTransport client cannot be chosen. */
  readonly congestion: Congestion;
}

export type Congestion = 'cubic' | 'bbr' | 'reno';

/**
 * `forward`: one publisher to one subscriber for each pair, QoS 0, as fast as they go.
 * `acknowledge`: one publisher, QoS 1, nobody subscribes.
 * `connect`: connections are opened, log in and are closed.
 * `paced`: publishers and subscribers of several topics, QoS 1, so many messages a second.
 */
export type Kind = 'forward' | 'acknowledge' | 'connect' | 'paced';

export interface Task {
  readonly kind: Kind;
  readonly target: Target;
  readonly seconds: number;
  /** The same before, not counted. */
  readonly warmUpSeconds: number;
  /** Of a message, in bytes; at least 8. */
  readonly payloadBytes: number;
  /** Messages (`connect`: connections) under way at once, of each pair. */
  readonly window: number;
  /** A publisher and a subscriber each. */
  readonly pairs: number;
  /** `paced`: topics of a pair. */
  readonly topics: number;
  /** Streams of a connection besides the first, each for its share of the topics; 0: everything goes over the first. */
  readonly streams: number;
  /** `paced`: messages a second, of each pair. */
  readonly perSecond: number;
  /** `paced`: large messages besides, on the last topic, which are not timed; 0: none. */
  readonly largePerSecond: number;
  readonly largeBytes: number;
  /** `paced`: a message that takes longer is late, in milliseconds. */
  readonly lateMs: number;
  /** The broker's process, whose CPU time and memory are read. */
  readonly brokerPid: number;
}

/** Latencies are in milliseconds: from publisher to subscriber, to the acknowledgement, or to the CONNACK. */
export interface Outcome {
  readonly perSecond: number;
  readonly count: number;
  readonly p50Ms: number;
  readonly p90Ms: number;
  readonly p95Ms: number;
  readonly p99Ms: number;
  /** Of all that were sent and timed; `paced` alone. */
  readonly inTimeShare: number;
  /** Sent and not there five seconds later. */
  readonly lost: number;
  readonly megabytesPerSecond: number;
  /** CPU time of the broker and its child processes; published and received messages are counted alike. */
  readonly cpuUsPerMessage: number;
  /** CPU time of the load client for the same. */
  readonly clientCpuUsPerMessage: number;
  readonly rssMb: number;
}

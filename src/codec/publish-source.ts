/** What a PUBLISH is encoded from: a packet just received (PublishView) or a message at rest (Message). Types only. */
import type { QoS } from './packets.ts';

/** Byte ranges instead of values, so that nothing is copied before the receiver's buffer. Each range is `[start, end)` of its buffer. */
export interface PublishSource {
  readonly topicBytes: Buffer;
  readonly topicStart: number;
  readonly topicEnd: number;
  readonly payloadBytes: Buffer;
  readonly payloadStart: number;
  readonly payloadEnd: number;
  /** Encoded MQTT 5 properties to forward unaltered, without message expiry, topic alias and subscription identifiers. */
  readonly propertyBytes: Buffer;
  readonly propertyStart: number;
  readonly propertyEnd: number;
  readonly qos: QoS;
}

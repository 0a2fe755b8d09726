import type { HoldRule } from '../router/held-topics.ts';

/** How a broker behaves, bounds aside. */
export interface BrokerSettings {
  /** Check that payloads announced as UTF-8 are (Payload Format Indicator). */
  readonly payloadFormatCheck: boolean;
  /** Queue QoS 0 messages for sessions that are not connected. */
  readonly queueQos0: boolean;
  /** What a full queue loses: the message that comes, or those that have waited longest. */
  readonly queueWhenFull: 'drop-newest' | 'drop-oldest';
  /** Topics whose messages wait for their first subscriber. */
  readonly hold: readonly HoldRule[];
  /** What a PUBLISH that the ACL refuses does in versions and at QoS levels that have no answer for it. */
  readonly deniedPublish: 'drop' | 'disconnect';
  /** Sent as Response Information to MQTT 5 clients that ask; empty: none. */
  readonly responseInformation: string;
  /** How often `$SYS` is published, in seconds; 0: never. */
  readonly sysIntervalSeconds: number;
  /** The broker's version as `$SYS/broker/version` shows it. */
  readonly version: string;
}

export const DEFAULT_SETTINGS: BrokerSettings = Object.freeze({
  payloadFormatCheck: false,
  queueQos0: false,
  queueWhenFull: 'drop-newest',
  hold: Object.freeze([]),
  deniedPublish: 'drop',
  responseInformation: '',
  sysIntervalSeconds: 10,
  version: 'sluice',
});

/** The options of section `limits`. */
import { DEFAULT_LIMITS, type Limits } from '../src/limits.ts';
import { type Format, integer } from './formats.ts';
import type { Option } from './option.ts';

const UINT32_MAX = 4_294_967_295;
const PACKET_MAX = 268_435_460;
const boolean: Format = { kind: 'boolean' };
const qos: Format = { kind: 'choice', values: [0, 1, 2] };

/** Range and meaning of each limit; the record type makes a limit without an option a compile error. */
export const LIMIT_OPTIONS: Record<keyof Limits, readonly [Format, string]> = {
  connectionsMax: [integer(1, 10_000_000, 'connections'), 'Connections open at once.'],
  packetBytesMax: [integer(128, PACKET_MAX, 'bytes'), 'Largest packet a client may send, in bytes.'],
  connectPacketBytesMax: [
    integer(128, PACKET_MAX, 'bytes'),
    'Largest CONNECT packet, in bytes: what a stranger may send before logging in.',
  ],
  receiveMaximum: [
    integer(1, 65_535, 'messages'),
    'Unacknowledged QoS 1 and 2 messages each client may have under way towards the broker.',
  ],
  inflightMax: [
    integer(1, 65_535, 'messages'),
    'Unacknowledged QoS 1 and 2 messages the broker has under way towards one client.',
  ],
  topicAliasMaximum: [integer(0, 65_535, 'aliases'), 'Topic aliases in each direction of one connection.'],
  topicLevelsMax: [integer(1, 65_535, 'levels'), 'Levels of a topic name or filter.'],
  topicBytesMax: [integer(1, 65_535, 'bytes'), 'Length of a topic name or filter, in bytes.'],
  clientIdBytesMax: [integer(23, 65_535, 'bytes'), 'Length of a client id, in bytes.'],
  userPropertiesMax: [integer(0, 65_535, 'properties'), 'User properties in one packet.'],
  subscriptionsPerClientMax: [integer(1, 10_000_000, 'subscriptions'), 'Subscriptions of one client.'],
  queueMessagesMax: [integer(0, 100_000_000, 'messages'), 'Messages waiting for one session.'],
  queueBytesMax: [integer(0, 1_099_511_627_776, 'bytes'), 'Bytes of the messages waiting for one session.'],
  outBytesMax: [
    integer(4_096, 1_073_741_824, 'bytes'),
    'Unsent bytes towards one connection before QoS 0 messages to it are dropped and no more is read from it. Others wait in its queue from 128 KiB on.',
  ],
  dataStreamsMax: [
    integer(0, 100, 'streams'),
    'Data streams one client may have open beside its control stream, by QUIC and WebTransport; 0: none.',
  ],
  stalledReaderSeconds: [
    integer(1, 86_400, 'seconds'),
    'Time a client may leave 64 KiB of what is sent to it untaken before it is disconnected, in seconds.',
  ],
  messagesPerSecondMax: [
    integer(0, 10_000_000, 'messages a second'),
    'PUBLISH packets one client may send a second, on average; 0: no limit.',
  ],
  bytesPerSecondMax: [
    integer(0, 1_099_511_627_776, 'bytes a second'),
    'Bytes one client may send a second, on average; 0: no limit.',
  ],
  subscribesPerSecondMax: [
    integer(0, 10_000_000, 'filters a second'),
    'Topic filters one client may subscribe to a second, on average; 0: no limit.',
  ],
  connectsPerSecondMax: [
    integer(0, 1_000_000, 'connections a second'),
    'Connections each listener takes a second, on average; 0: no limit.',
  ],
  rateGraceSeconds: [
    integer(0, 86_400, 'seconds'),
    'Time a client that is over a rate is only held back before it is disconnected, in seconds; 0: for ever.',
  ],
  sessionsMax: [integer(1, 100_000_000, 'sessions'), 'Sessions kept, connected or not.'],
  retainedMessagesMax: [integer(0, 100_000_000, 'messages'), 'Retained messages kept.'],
  retainedBytesMax: [integer(0, 1_099_511_627_776, 'bytes'), 'Bytes of all retained messages.'],
  sessionExpiryMaxSeconds: [
    integer(0, UINT32_MAX, 'seconds'),
    'Longest time a disconnected MQTT 5 session is kept, in seconds.',
  ],
  sessionExpiry3xSeconds: [
    integer(0, UINT32_MAX, 'seconds'),
    'Time a disconnected MQTT 3.x session is kept, in seconds.',
  ],
  messageExpiryMaxSeconds: [
    integer(0, UINT32_MAX, 'seconds'),
    'Longest time a message is kept, in seconds; 0: as long as its publisher said.',
  ],
  keepAliveMaxSeconds: [
    integer(1, 65_535, 'seconds'),
    'Longest keep alive, in seconds; MQTT 5 clients are told a lower value.',
  ],
  connectTimeoutSeconds: [
    integer(1, 3_600, 'seconds'),
    'Time from the opening of a connection to its complete CONNECT, in seconds.',
  ],
  maximumQos: [qos, 'Highest quality of service the broker offers.'],
  retainAvailable: [boolean, 'Whether messages may be retained.'],
  wildcardSubscriptionAvailable: [boolean, 'Whether filters may have wildcards.'],
  sharedSubscriptionAvailable: [boolean, 'Whether $share subscriptions are offered.'],
  subscriptionIdentifiersAvailable: [boolean, 'Whether subscription identifiers are offered.'],
};

/** One option for each limit, with the default of src/limits.ts. */
export function limitOptions(): Option[] {
  return Object.entries(LIMIT_OPTIONS).map(([name, [format, doc]]) => ({
    key: `limits.${name}`,
    format,
    default: DEFAULT_LIMITS[name as keyof Limits],
    doc,
  }));
}

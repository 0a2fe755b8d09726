/** The option table of one entry of `listeners`. */
import { LISTENER_AUTH_OPTIONS } from './auth-options.ts';
import { DOOR_LIST_OPTIONS } from './door-lists.ts';
import { integer } from './formats.ts';
import { LIMIT_OPTIONS } from './limit-options.ts';
import type { Option } from './option.ts';
import { TLS_OPTIONS } from './tls.ts';

/** The limits that a listener may set for its own connections. */
export const LISTENER_LIMITS = [
  'connectionsMax',
  'maximumQos',
  'topicAliasMaximum',
  'receiveMaximum',
  'dataStreamsMax',
  'packetBytesMax',
  'keepAliveMaxSeconds',
  'connectsPerSecondMax',
  'messagesPerSecondMax',
  'bytesPerSecondMax',
  'subscribesPerSecondMax',
  'rateGraceSeconds',
] as const;

/** The keys of one entry of `listeners`. */
export const LISTENER_OPTIONS: readonly Option[] = [
  {
    key: 'url',
    format: { kind: 'url' },
    default: null,
    defaultText: 'required',
    doc: 'Scheme (mqtt, mqtts, ws, wss, wt, quic or unix), address, port and path; for unix the absolute path of the socket.',
  },
  ...TLS_OPTIONS,
  {
    key: 'mode',
    format: { kind: 'mode' },
    default: '0660',
    doc: 'Permission bits of a unix socket.',
  },
  {
    key: 'origins',
    format: { kind: 'texts' },
    default: null,
    defaultText: 'the host the page asked for, any port',
    doc: 'Origins of web pages that may connect by ws, wss or wt; "*" allows all; clients without an Origin always may.',
  },
  {
    key: 'engine',
    format: { kind: 'choice', values: ['auto', 'fails-components', 'rwebtransport'] },
    default: 'auto',
    doc: 'Which HTTP/3 library serves wt; auto takes the first that loads. See docs/webtransport.md.',
  },
  {
    key: 'isolate',
    format: { kind: 'boolean' },
    default: null,
    defaultText: 'true for wt and quic, false for mqtts and wss',
    doc: 'Whether the door runs in a process of its own: so that faults of the native engine of wt and quic end that and not the broker, and TLS handshakes of mqtts and wss take the time of another core. See docs/decisions/0019-engines-in-a-process.md.',
  },
  {
    key: 'engineMemoryMaxBytes',
    format: integer(134_217_728, 1_099_511_627_776, 'bytes'),
    default: null,
    defaultText: '1073741824 for wt and quic, as much as there is for mqtts and wss',
    doc: 'Memory that process may have before it is started anew, in bytes; comes on top of limits.memoryMaxBytes.',
  },
  ...DOOR_LIST_OPTIONS,
  {
    key: 'versions',
    format: { kind: 'choices', values: [3, 4, 5] },
    default: [3, 4, 5],
    doc: 'MQTT versions spoken: 3 (3.1), 4 (3.1.1) and 5 (5.0).',
  },
  ...LISTENER_AUTH_OPTIONS,
  ...LISTENER_LIMITS.map((name) => ({
    key: name,
    format: LIMIT_OPTIONS[name][0],
    default: null,
    defaultText: `limits.${name}`,
    doc: LIMIT_OPTIONS[name][1],
  })),
];

/** Keys planned for later versions, so that an error can say so instead of "unknown". */
export const PLANNED_LISTENER_KEYS: ReadonlySet<string> = new Set(['mountPoint', 'clientIdPrefix']);

/** The option table of one entry of `listeners`. */
import type { Format } from './formats.ts';
import { LIMIT_OPTIONS } from './limit-options.ts';
import type { Option } from './option.ts';

const boolean: Format = { kind: 'boolean' };

/** The keys of one entry of `listeners`. */
export const LISTENER_OPTIONS: readonly Option[] = [
  {
    key: 'url',
    format: { kind: 'url' },
    default: null,
    defaultText: 'required',
    doc: 'Scheme (mqtt, mqtts, ws, wss or unix), address, port and path; for unix the absolute path of the socket.',
  },
  {
    key: 'tls.cert',
    format: { kind: 'path', emptyAllowed: false },
    default: null,
    defaultText: 'required for mqtts and wss',
    doc: 'Certificate chain, a PEM file.',
  },
  {
    key: 'tls.key',
    format: { kind: 'path', emptyAllowed: false },
    default: null,
    defaultText: 'required for mqtts and wss',
    doc: 'Private key of the certificate, a PEM file only its owner can read.',
  },
  {
    key: 'tls.ca',
    format: { kind: 'path', emptyAllowed: false },
    default: null,
    defaultText: 'none',
    doc: 'Authorities whose client certificates are accepted, a PEM file.',
  },
  {
    key: 'tls.minVersion',
    format: { kind: 'choice', values: ['TLSv1.2', 'TLSv1.3'] },
    default: 'TLSv1.2',
    doc: 'Oldest TLS version accepted.',
  },
  {
    key: 'tls.maxVersion',
    format: { kind: 'choice', values: ['TLSv1.2', 'TLSv1.3'] },
    default: 'TLSv1.3',
    doc: 'Newest TLS version accepted.',
  },
  {
    key: 'tls.ciphers',
    format: { kind: 'text', charactersMax: 4_096 },
    default: null,
    defaultText: 'suites with forward secrecy and authenticated encryption',
    doc: 'Cipher suites in the notation of OpenSSL.',
  },
  {
    key: 'tls.requestCert',
    format: boolean,
    default: false,
    doc: 'Whether clients must show a certificate signed by one of `tls.ca`.',
  },
  {
    key: 'tls.useCertAsUsername',
    format: { kind: 'only', value: false },
    default: false,
    doc: 'Whether the name in the client certificate is the user name. Not available in this version.',
  },
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
    doc: 'Origins of web pages that may connect by ws or wss; "*" allows all; clients without an Origin always may.',
  },
  {
    key: 'versions',
    format: { kind: 'choices', values: [3, 4, 5] },
    default: [3, 4, 5],
    doc: 'MQTT versions spoken: 3 (3.1), 4 (3.1.1) and 5 (5.0).',
  },
  ...(
    [
      'connectionsMax',
      'maximumQos',
      'topicAliasMaximum',
      'receiveMaximum',
      'packetBytesMax',
      'keepAliveMaxSeconds',
    ] as const
  ).map((name) => ({
    key: name,
    format: LIMIT_OPTIONS[name][0],
    default: null,
    defaultText: `limits.${name}`,
    doc: LIMIT_OPTIONS[name][1],
  })),
];

/** Keys planned for later versions, so that an error can say so instead of "unknown". */
export const PLANNED_LISTENER_KEYS: ReadonlySet<string> = new Set(['mountPoint', 'clientIdPrefix', 'auth']);

/**
 * MQTT.js over WebTransport, in browsers and in Node, with a fall-back to WebSocket. Imports nothing: MQTT.js is handed in, and whatever else it
 * needs is in browsers and in Node alike.
 */
import type { TransportKind } from './channel.ts';
import { type Client, TransportChoice } from './transport-choice.ts';
import type { WebSocketClass } from './websocket-channel.ts';
import type { CertificateHashes, WebTransportClass } from './webtransport-channel.ts';

export { TransportError, type TransportKind } from './channel.ts';
export type { WebSocketClass, WebSocketLike } from './websocket-channel.ts';
export type {
  CertificateHash,
  CertificateHashes,
  WebTransportClass,
  WebTransportSession,
} from './webtransport-channel.ts';

export interface TransportOptions {
  /** The broker's WebTransport door, e.g. `https://broker.example.com:8443/mqtt`. */
  readonly url: string;
  /** Taken while WebTransport does not come up, e.g. `wss://broker.example.com:8084/mqtt`. Without it there is no fall-back. */
  readonly fallbackUrl?: string;
  /**
   * SHA-256 of the broker's certificate, where no public authority has signed it: base64 or bytes. A function is asked before every attempt, which
   * a certificate that is renewed every few days needs. Default: none; the authorities decide.
   */
  readonly certificateHashes?: CertificateHashes;
  /** How long WebTransport may take to come up before the fall-back is taken. Default: 2 000; without a fall-back 20 000. */
  readonly timeoutMs?: number;
  /** After a fall-back, WebTransport is left alone for this long; twice as long after each further failure. Default: 30 000. */
  readonly retryAfterMs?: number;
  /** The longest such time. Default: 600 000. */
  readonly retryAfterMaxMs?: number;
  /**
   * Whether to look for WebTransport while connected over the fall-back, and to move over by a reconnect as soon as it is there. Without it the
   * next reconnect for another reason tries. Default: true. With `reconnectPeriod: 0` nothing moves.
   */
  readonly moveBack?: boolean;
  /** Called whenever a broker has answered: over what, and if not over WebTransport, why. */
  readonly onTransport?: (transport: TransportKind, reason?: Error) => void;
  /** The class to use. Default: the global one, which Node does not have. */
  readonly WebTransport?: WebTransportClass;
  /** The class to use for the fall-back. Default: the global one. */
  readonly WebSocket?: WebSocketClass;
}

/** What is needed of MQTT.js's MqttClient (version 5). */
export interface MqttClientLike extends Client {
  on(event: 'error', listener: (error: Error) => void): unknown;
}

/**
 * Connects, and reconnects, as `mqtt.connect` does.
 *
 * @param MqttClient the class of MQTT.js: `mqtt.MqttClient`
 * @param options where and how to connect
 * @param mqttOptions options of MQTT.js: user name, password, protocolVersion and so on; those about addresses are not read
 * @returns MQTT.js's client. Its event `error` tells of every attempt over all transports that failed; it goes on trying every `reconnectPeriod`
 * @throws TypeError for options that cannot work
 */
export function connect<Instance extends MqttClientLike, Options extends object>(
  // MQTT.js asks for a Duplex; what it gets is the part of one that it uses.
  MqttClient: new (streamBuilder: (client: Instance) => never, options: Options) => Instance,
  options: TransportOptions,
  mqttOptions?: Options,
): Instance {
  const choice = new TransportChoice(checked(options));
  const client = new MqttClient((instance) => choice.stream(instance) as never, {
    ...mqttOptions,
  } as Options);
  // As mqtt.connect does: without any listener an error would end the program.
  client.on('error', () => {});
  return client;
}

function checked(options: TransportOptions) {
  const { WebTransport, WebSocket } = globalThis as unknown as TransportOptions;
  const given = {
    WebTransport: options.WebTransport ?? WebTransport,
    WebSocket: options.WebSocket ?? WebSocket,
    url: addressOf('url', options.url, ['https:']),
    fallbackUrl:
      options.fallbackUrl === undefined
        ? undefined
        : addressOf('fallbackUrl', options.fallbackUrl, ['wss:', 'ws:']),
    certificateHashes: options.certificateHashes,
    timeoutMs: milliseconds(
      'timeoutMs',
      options.timeoutMs,
      options.fallbackUrl === undefined ? 20_000 : 2_000,
    ),
    retryAfterMs: milliseconds('retryAfterMs', options.retryAfterMs, 30_000),
    retryAfterMaxMs: milliseconds('retryAfterMaxMs', options.retryAfterMaxMs, 600_000),
    moveBack: options.moveBack ?? true,
    isPaced: options.WebTransport === undefined,
    onTransport: options.onTransport ?? (() => {}),
  };
  if (given.WebTransport === undefined && given.fallbackUrl === undefined) {
    const remedy = 'Hand in a class (WebTransport), or give a fallbackUrl';
    throw new TypeError(`there is no WebTransport here, and no fallbackUrl. ${remedy}`);
  }
  if (given.WebSocket === undefined && given.fallbackUrl !== undefined)
    throw new TypeError('there is no WebSocket here for the fallbackUrl. Hand in a class (WebSocket)');
  return given;
}

function addressOf(name: string, text: string, schemes: readonly string[]): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url !== undefined && schemes.includes(url.protocol) && url.hash === '') return url.href;
  const example = `${schemes[0]}//broker.example.com${schemes[0] === 'https:' ? ':8443' : ':8084'}/mqtt`;
  throw new TypeError(`${name} "${text}" is no ${schemes.join(' or ')} address. Write it like ${example}`);
}

function milliseconds(name: string, value: number | undefined, byDefault: number): number {
  if (value === undefined) return byDefault;
  if (Number.isInteger(value) && value > 0 && value < 2 ** 31) return value;
  throw new TypeError(`${name} is ${value}. Write a whole number of milliseconds, 1 to 2147483647`);
}

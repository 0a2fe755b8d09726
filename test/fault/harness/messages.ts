/** Application messages whose content can be told from their name, so that one wrong byte shows. */
import type { Properties, QoS } from '../../../src/codec/packets.ts';
import type { MessageName } from './history.ts';

export interface OutgoingMessage extends MessageName {
  readonly qos: QoS;
  readonly retain: boolean;
  /** Empty, to remove the topic's retained message. */
  readonly clear: boolean;
  /** Bytes of payload at least. */
  readonly bytes: number;
}

/** `NUMBER:` and a filling that follows from topic and number. */
export function payloadOf({ topic, number, clear, bytes }: OutgoingMessage): Buffer {
  if (clear) return Buffer.alloc(0);
  const start = `${number}:`;
  const filling = `${topic} ${number} `;
  return Buffer.from(start + filling.repeat(Math.ceil(Math.max(0, bytes - start.length) / filling.length)));
}

/** What an MQTT 5.0 publisher gives along. */
export function propertiesOf({ topic, number }: MessageName): Properties {
  return {
    contentType: `content-${number % 7}`,
    responseTopic: `${topic}/response`,
    correlationData: Buffer.from([number & 0xff, number >>> 8]),
    userProperties: [['number', String(number)]],
  };
}

/** The number in a payload, 0 in an empty one, and what is wrong with its bytes: empty when nothing is. */
export function readPayload(topic: string, payload: Uint8Array): { number: number; fault: string } {
  if (payload.length === 0) return { number: 0, fault: '' };
  const text = Buffer.from(payload).toString();
  const colon = text.indexOf(':');
  const number = Number(text.slice(0, colon));
  if (colon < 1 || !Number.isSafeInteger(number)) return { number: 0, fault: 'its payload has no number' };
  const filling = `${topic} ${number} `;
  const rest = text.slice(colon + 1);
  const whole = filling.repeat(rest.length / filling.length);
  return {
    number,
    fault: rest === whole ? '' : `its payload is not what was published: ${text.slice(0, 80)}`,
  };
}

/** What is wrong with the properties that came with a message; empty: nothing. */
export function faultOfProperties(name: MessageName, came: Properties): string {
  if (name.number === 0) return '';
  const sent = propertiesOf(name);
  // From a 3.x publisher there are none.
  if (came.contentType === undefined && came.userProperties === undefined) return '';
  const same =
    came.contentType === sent.contentType &&
    came.responseTopic === sent.responseTopic &&
    Buffer.compare(came.correlationData ?? Buffer.alloc(0), sent.correlationData!) === 0 &&
    JSON.stringify(came.userProperties) === JSON.stringify(sent.userProperties);
  return same ? '' : `its properties are not what was published: ${JSON.stringify(came)}`;
}

/** The judge of the fault tests, on histories that are wrong on purpose: each promise has one that breaks it. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { QoS } from '../../src/codec/packets.ts';
import { check } from './harness/check.ts';
import type { Event } from './harness/history.ts';

type Fields<K extends Event['kind']> = Omit<Extract<Event, { kind: K }>, 'kind'>;

/** One line of a history; what is not told is the usual. */
const start: Event = { kind: 'start', round: 1 };
const connect = (client: string, fields: Partial<Fields<'connect'>> = {}): Event => ({
  ...{ kind: 'connect', client, cleanStart: false, lasting: true },
  ...fields,
});
const connack = (client: string, present: boolean, code = 0): Event => ({
  ...{ kind: 'connack', client, present, code },
});
const closed = (client: string, by: 'client' | 'stop' | 'broker' = 'stop', why = ''): Event => ({
  ...{ kind: 'closed', client, by, why },
});
const subscribe = (client: string, qos: QoS, filter = 't', identifier = 0): Event => ({
  ...{ kind: 'subscribe', client, filter, qos, identifier },
});
const suback = (client: string, code: number, filter = 't'): Event => ({
  ...{ kind: 'suback', client, filter, code },
});
const unsubscribe = (client: string): Event => ({ kind: 'unsubscribe', client, filter: 't' });
const unsuback = (client: string): Event => ({ kind: 'unsuback', client, filter: 't' });
const publish = (number: number, qos: QoS, fields: Partial<Fields<'publish'>> = {}): Event => ({
  ...{ kind: 'publish', client: 'p', topic: 't', number, qos, retain: false, clear: false, dup: false },
  ...{ packetId: number, ...fields },
});
const acknowledged = (number: number, code = 0): Event => ({
  ...{ kind: 'acknowledged', client: 'p', topic: 't', number, code },
});
const pubcomp = (number: number, code: number, asked: number): Event => ({
  ...{ kind: 'pubcomp', client: 'p', topic: 't', number, code, asked },
});
const message = (
  client: string,
  number: number,
  qos: QoS,
  fields: Partial<Fields<'message'>> = {},
): Event => ({
  ...{ kind: 'message', client, topic: 't', number, qos, retain: false, dup: false, packetId: number },
  ...{ identifiers: [], fault: '', ...fields },
});
const pubrel = (client: string, packetId: number): Event => ({ kind: 'pubrel', client, packetId });
const drained = (client: string, since = 1_000): Event => ({ kind: 'drained', client, since });
const found = (number: number | null, since: number): Event => ({
  ...{ kind: 'retained', client: 'reader', topic: 't', number, since },
});

/** A session of `client` that was acknowledged, with a subscription to `filter`. */
const subscribed = (client: string, qos: QoS, filter = 't'): Event[] => [
  ...[connect(client), connack(client, false)],
  ...[subscribe(client, qos, filter), suback(client, qos, filter)],
];
const crashed = (client: string): Event[] => [closed(client), { kind: 'stop', round: 1 }, start];

function accepts(...events: (Event | Event[])[]): void {
  assert.deepEqual(check(events.flat()), []);
}

/** Exactly one promise is broken, and it is this one. */
function rejects(pattern: RegExp, ...events: (Event | Event[])[]): void {
  const violations = check(events.flat());
  assert.equal(violations.length, 1, JSON.stringify(violations));
  assert.match(violations[0].text, pattern);
}

describe('messages', () => {
  test('a message that was acknowledged must come', () => {
    const published = [subscribed('s', 1), publish(1, 1), acknowledged(1)];
    accepts(...published, message('s', 1, 1), drained('s'));
    accepts(...published);
    rejects(/t 1 was acknowledged and never came to s/, ...published, drained('s'));
  });

  test('a message need not come when it was not acknowledged, was refused, or the subscription was unsure', () => {
    accepts(subscribed('s', 1), publish(1, 1), drained('s'));
    const refused = [subscribed('s', 1), publish(1, 1), acknowledged(1, 0x97), drained('s')].flat();
    assert.deepEqual(check(refused, true), []);
    assert.match(check(refused)[0].text, /refused with code 151/);
    const [connecting, answer, subscribing, granted] = subscribed('s', 1);
    const before = [start, connecting, answer];
    accepts(...before, publish(1, 1), subscribing, granted, acknowledged(1), drained('s'));
    accepts(...before, subscribing, publish(1, 1), acknowledged(1), drained('s'));
    accepts(subscribed('s', 1), publish(1, 1), unsubscribe('s'), acknowledged(1), drained('s'));
    accepts(subscribed('s', 0), publish(1, 1), acknowledged(1), drained('s'));
  });

  test('a message of QoS 2 must not come twice, one of QoS 1 may', () => {
    const published = (qos: QoS) => [subscribed('s', 2), publish(1, qos), acknowledged(1)];
    accepts(published(1).flat(), message('s', 1, 1), message('s', 1, 1, { packetId: 7 }));
    const first = [...published(2).flat(), message('s', 1, 2), pubrel('s', 1)];
    accepts(first);
    rejects(/s got t 1 twice/, first, message('s', 1, 2, { packetId: 7 }));
    rejects(/s got t 1 twice/, first, crashed('s'), message('s', 1, 2, { dup: true }));
  });

  test('until PUBREL a packet identifier stands for the message that came with it', () => {
    const before = [subscribed('s', 2), publish(1, 2), publish(2, 2), message('s', 1, 2)].flat();
    const again = [...before, crashed('s'), connect('s'), connack('s', true)].flat();
    accepts(again, message('s', 1, 2, { dup: true }));
    rejects(/again without DUP/, again, message('s', 1, 2));
    rejects(/s holds t 1 by packet identifier 1 and got t 2/, again, message('s', 2, 2, { packetId: 1 }));
  });

  test('the first deliveries of a topic must come in order', () => {
    const before = [subscribed('s', 1), publish(1, 1), publish(2, 1), message('s', 1, 1)].flat();
    accepts(before, message('s', 2, 1), message('s', 1, 1), message('s', 2, 1));
    rejects(
      /s got t 1 for the first time after 2/,
      [subscribed('s', 1), publish(1, 1), publish(2, 1)].flat(),
      [message('s', 2, 1), message('s', 1, 1)],
    );
    // Sent again, and the subscription came between the two.
    const late = [publish(1, 1), subscribed('s', 1), publish(2, 1), message('s', 2, 1)].flat();
    accepts(late, publish(1, 1), message('s', 1, 1), message('s', 2, 1));
    rejects(/s got t 1 for the first time after 2/, late, message('s', 1, 1));
  });

  test('a message must be one that was published, byte for byte', () => {
    rejects(/nobody has published it/, subscribed('s', 1), message('s', 1, 1));
    const fault = 'its payload is not what was published';
    rejects(new RegExp(fault), subscribed('s', 1), publish(1, 1), message('s', 1, 1, { fault }));
  });

  test('a packet identifier that PUBREC acknowledged must be known to the first PUBREL', () => {
    accepts(publish(1, 2), acknowledged(1), pubcomp(1, 0x92, 2));
    rejects(/unknown to PUBREL/, publish(1, 2), acknowledged(1), pubcomp(1, 0x92, 1));
  });

  test('a shared subscription must bring a message to one member, and QoS 2 to no other', () => {
    const group = [subscribed('a', 2, '$share/g/t'), subscribed('b', 2, '$share/g/t')].flat();
    const published = [...group, publish(1, 2), acknowledged(1)];
    const end = [drained('a'), drained('b')];
    accepts(published, message('b', 1, 2), end);
    rejects(/came to no member/, published, end);
    rejects(/came to two members/, published, message('a', 1, 2), message('b', 1, 2), end);
    accepts(published, drained('a'));
  });
});

describe('sessions and subscriptions', () => {
  test('a session that was acknowledged must be there', () => {
    accepts(subscribed('s', 1), crashed('s'), connect('s'), connack('s', true));
    rejects(/session of s is lost/, subscribed('s', 1), crashed('s'), connect('s'), connack('s', false));
  });

  test('a session that was never acknowledged may be there or not', () => {
    const unanswered = [connect('s'), ...crashed('s'), connect('s')];
    accepts(unanswered, connack('s', true));
    accepts(unanswered, connack('s', false));
  });

  test('a session that was ended must not come back', () => {
    const fresh = { cleanStart: true, lasting: false };
    const ended = [
      ...subscribed('s', 1),
      closed('s'),
      connect('s', fresh),
      connack('s', false),
      ...crashed('s'),
    ];
    accepts(ended, connect('s'), connack('s', false));
    rejects(/over by what the broker had answered/, ended, connect('s'), connack('s', true));
    rejects(/asked for a new session/, subscribed('s', 1), connect('s', fresh), connack('s', true));
    accepts(
      subscribed('s', 1),
      closed('s'),
      connect('s', fresh),
      crashed('s'),
      connect('s'),
      connack('s', true),
    );
  });

  test('a subscription that was acknowledged must be kept, with its QoS and its identifier', () => {
    const before = [
      connect('s'),
      connack('s', false),
      subscribe('s', 1, 't', 9),
      suback('s', 1),
      publish(1, 2),
    ];
    accepts(before, message('s', 1, 1, { identifiers: [9] }));
    rejects(/its subscription at that time was/, before, message('s', 1, 1));
    rejects(/its subscription at that time was/, before, message('s', 1, 2, { identifiers: [9] }));
    rejects(/was granted QoS 0/, connect('s'), connack('s', false), subscribe('s', 1), suback('s', 0));
  });

  test('a subscription whose SUBACK never came may be the old or the new one', () => {
    const before = [
      ...subscribed('s', 1),
      subscribe('s', 2),
      ...crashed('s'),
      connect('s'),
      connack('s', true),
    ];
    accepts(before, publish(1, 2), message('s', 1, 1));
    accepts(before, publish(1, 2), message('s', 1, 2));
  });

  test('an unsubscription that was acknowledged must be kept', () => {
    const before = [...subscribed('s', 1), publish(1, 1), unsubscribe('s'), unsuback('s'), publish(2, 1)];
    accepts(before, message('s', 1, 1));
    rejects(/s got t 2 .* was none/, before, message('s', 2, 1));
  });

  test('a session begun anew must not have the subscriptions of the old one', () => {
    const anew = [connect('s', { cleanStart: true }), connack('s', false)];
    accepts(subscribed('s', 1), publish(1, 1), acknowledged(1), anew, drained('s'));
    rejects(/was none/, subscribed('s', 1), anew, publish(1, 1), message('s', 1, 1));
  });

  test('the broker must neither refuse nor end a connection without a reason', () => {
    rejects(/refused with code 136/, connect('s'), connack('s', false, 0x88));
    rejects(
      /closed the connection of s: 0x93/,
      connect('s'),
      connack('s', false),
      closed('s', 'broker', '0x93'),
    );
    const noRoom = [connect('s'), connack('s', false, 0x97), closed('s', 'broker')];
    assert.deepEqual(check(noRoom, true), []);
    assert.equal(check(noRoom).length, 2);
    rejects(/answers packet identifier 3/, {
      ...{ kind: 'broken', client: 'p', what: 'packet type 4 answers packet identifier 3' },
    });
  });
});

describe('retained messages', () => {
  const retain = { retain: true };
  const clear = { retain: true, clear: true };

  test('a retained message must not be older than the last that was acknowledged', () => {
    const before = [publish(1, 1, retain), acknowledged(1), publish(2, 1, retain), acknowledged(2)];
    accepts(before, found(2, 4));
    rejects(/retained message of t is 1; the last acknowledged value is 2/, before, found(1, 4));
    // Not acknowledged by the time it was asked for.
    accepts(before, found(1, 3));
  });

  test('a retained message must not be missing, unless it may have been removed', () => {
    const before = [publish(1, 1, retain), acknowledged(1)];
    rejects(/t has no retained message/, before, found(null, 2));
    accepts(before, publish(2, 1, clear), found(null, 2));
    accepts(before, publish(2, 1, clear), found(1, 2));
    accepts(publish(1, 1, retain), found(null, 1));
  });

  test('a retained message that was removed must not come back', () => {
    const removed = [publish(1, 1, retain), acknowledged(1), publish(2, 1, clear), acknowledged(2)];
    accepts(removed, found(null, 4));
    rejects(/the last acknowledged value is none, by 2/, removed, found(1, 4));
    rejects(/never published: 2/, removed, found(2, 4));
  });
});

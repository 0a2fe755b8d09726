import { PacketType, type QoS, type SubscribePacket, type SubscriptionRequest } from '../codec/packets.ts';
import { ReasonCode } from '../codec/reason-codes.ts';
import type { Connection } from '../connection/connection.ts';
import type { PacketStream } from '../connection/packet-stream.ts';
import { ProtocolError, quoted } from '../errors.ts';
import { Subscription } from '../session/subscription.ts';
import { isValidTopicFilter, parseShared } from '../topics/names.ts';

/** Failure in a 3.x SUBACK (3.1.1 section 3.9.3). */
const FAILURE_3X = 0x80;

interface Granted {
  readonly subscription: Subscription;
  /** True when the session had no subscription to this filter. */
  readonly isNew: boolean;
}

/** Adds subscriptions and answers with one code for each filter (MQTT 5.0 section 3.8). [MQTT-3.8.4-1] [MQTT-3.8.4-6] */
export function handleSubscribe(stream: PacketStream, packet: SubscribePacket): void {
  const { connection } = stream;
  connection.takeFilters(packet.subscriptions.length);
  const identifier = packet.properties.subscriptionIdentifiers?.[0] ?? 0;
  if (identifier > 0 && !connection.door.limits.subscriptionIdentifiersAvailable)
    throw new ProtocolError(
      ReasonCode.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED,
      'subscription identifiers are switched off here',
    );
  // 3.x has no code for a filter that is not well-formed: the connection ends, and before anything was subscribed to.
  if (connection.version !== 5)
    for (const { filter } of packet.subscriptions) if (!wellFormed(connection, filter)) refuseFilter(filter);
  const granted: Granted[] = [];
  const reasonCodes = packet.subscriptions.map((request) => {
    const result = subscribe(stream, request, identifier);
    if (typeof result === 'number') return connection.version === 5 ? result : FAILURE_3X;
    granted.push(result);
    return result.subscription.qos;
  });
  const { packetId } = packet;
  stream.sendWhenDurable(connection.session!.sequence, {
    type: PacketType.SUBACK,
    packetId,
    properties: {},
    reasonCodes,
  });
  for (const each of granted) {
    sendRetained(connection, each);
    connection.broker.held.release(each.subscription);
  }
}

/** Makes one subscription, or says with a reason code why not. */
function subscribe(stream: PacketStream, request: SubscriptionRequest, identifier: number): Granted | number {
  const { broker, connection } = stream;
  const { limits } = stream.door;
  const session = connection.session!;
  if (!wellFormed(connection, request.filter)) return ReasonCode.TOPIC_FILTER_INVALID;
  const shared = parseShared(request.filter);
  if (shared === 'invalid') return ReasonCode.TOPIC_FILTER_INVALID;
  const topicFilter = shared === null ? request.filter : shared.filter;
  if (shared !== null && !limits.sharedSubscriptionAvailable)
    return ReasonCode.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED;
  if (!limits.wildcardSubscriptionAvailable && hasWildcard(topicFilter))
    return ReasonCode.WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED;
  if (!broker.authorizer.may(session.identity, 'subscribe', topicFilter)) {
    broker.log.info('subscribe.denied', { ...connection.logFields, filter: request.filter });
    return ReasonCode.NOT_AUTHORIZED;
  }
  const isNew = !session.subscriptions.has(request.filter);
  if (isNew && session.stored && broker.store.full) return ReasonCode.QUOTA_EXCEEDED;
  if (isNew && session.subscriptions.size >= limits.subscriptionsPerClientMax) {
    broker.log.warn('subscribe.quota_exceeded', {
      ...connection.logFields,
      limit: limits.subscriptionsPerClientMax,
    });
    return ReasonCode.QUOTA_EXCEEDED;
  }
  const qos = Math.min(request.qos, limits.maximumQos) as QoS;
  const shareName = shared === null ? null : shared.group;
  const subscription = new Subscription(session, { ...request, qos, identifier }, shareName, topicFilter);
  subscription.stream = stream.id;
  stream.hasSubscribed = true;
  // [MQTT-3.8.4-3] an identical filter replaces the subscription
  broker.router.subscribe(subscription);
  if (session.stored) {
    const { filter, noLocal, retainAsPublished, retainHandling } = subscription;
    const stored = { filter, qos, noLocal, retainAsPublished, retainHandling, identifier };
    broker.store.append({ kind: 'subscribe', clientId: session.clientId, subscription: stored });
  }
  return { subscription, isNew };
}

function wellFormed(connection: Connection, filter: string): boolean {
  const { topicLevelsMax, topicBytesMax } = connection.door.limits;
  const shared = parseShared(filter);
  if (shared === 'invalid' || Buffer.byteLength(filter) > topicBytesMax) return false;
  return isValidTopicFilter(shared === null ? filter : shared.filter, topicLevelsMax);
}

/** [MQTT-4.8.0-1] */
function refuseFilter(filter: string): never {
  throw new ProtocolError(ReasonCode.TOPIC_FILTER_INVALID, `topic filter ${quoted(filter)} is not valid`);
}

function hasWildcard(filter: string): boolean {
  return filter.includes('+') || filter.includes('#');
}

/** [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11]; a shared subscription gets none (section 4.8.2). */
function sendRetained(connection: Connection, { subscription, isNew }: Granted): void {
  if (subscription.shareName !== null) return;
  if (subscription.retainHandling === 2 || (subscription.retainHandling === 1 && !isNew)) return;
  connection.session?.deliverRetained(subscription.filter, connection.broker.retainedFor(subscription));
}

import type { QoS } from '../codec/packets.ts';
import type { Session } from '../session/session.ts';
import type { Subscription } from '../session/subscription.ts';
import type { Hold } from './held-topics.ts';
import type { SharedGroup } from './shared-group.ts';

/** One session that gets the messages of a topic, once, however many of its filters match (MQTT 5.0 section 3.3.4). */
export interface Target {
  readonly session: Session;
  /** The highest QoS granted by the filters that match. [MQTT-3.3.4-2] */
  readonly qos: QoS;
  readonly retainAsPublished: boolean;
  /** The identifiers of all filters that match; null: none. [MQTT-3.3.4-3] [MQTT-3.3.4-4] */
  readonly identifiers: readonly number[] | null;
  /** The data stream that they go to: of those where a filter that matches was subscribed to, the one opened last; 0: the control stream. */
  readonly stream: number;
  /** What holds for messages that this session publishes itself: some of its filters say No Local. */
  readonly own: Target | 'same' | 'nothing';
}

/** Who gets the messages of one topic name. Made anew when subscriptions or rights change. */
export interface Route {
  readonly topic: string;
  readonly generation: number;
  readonly targets: readonly Target[];
  readonly groups: readonly SharedGroup[];
  /** Where messages go that nobody gets; null: nowhere. */
  readonly hold: Hold | null;
}

/** Joins the subscriptions that match into one target for each session. */
export function targetsOf(subscriptions: readonly Subscription[]): Target[] {
  const bySession = new Map<Session, Subscription[]>();
  for (const subscription of subscriptions) {
    const list = bySession.get(subscription.session);
    if (list === undefined) bySession.set(subscription.session, [subscription]);
    else list.push(subscription);
  }
  return [...bySession.values()].map(targetOf);
}

function targetOf(subscriptions: Subscription[]): Target {
  const foreign = subscriptions.filter((each) => !each.noLocal);
  const joined = join(subscriptions);
  if (foreign.length === subscriptions.length) return { ...joined, own: 'same' };
  return { ...joined, own: foreign.length === 0 ? 'nothing' : { ...join(foreign), own: 'same' } };
}

function join(subscriptions: Subscription[]): Omit<Target, 'own'> {
  let qos: QoS = 0;
  let retainAsPublished = false;
  let stream = 0;
  const identifiers: number[] = [];
  for (const each of subscriptions) {
    if (each.qos > qos) qos = each.qos;
    if (each.stream > stream) stream = each.stream;
    if (each.retainAsPublished) retainAsPublished = true;
    if (each.identifier > 0) identifiers.push(each.identifier);
  }
  return {
    session: subscriptions[0].session,
    qos,
    retainAsPublished,
    identifiers: identifiers.length > 0 ? identifiers : null,
    stream,
  };
}

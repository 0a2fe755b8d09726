import type { QoS } from '../codec/packets.ts';
import type { PublishView } from '../codec/publish-view.ts';
import type { Authorizer } from '../interfaces/auth.ts';
import type { Clock } from '../interfaces/clock.ts';
import { ROUTE_TARGETS_MAX, ROUTES_MAX } from '../limits.ts';
import type { Delivery } from '../session/delivery.ts';
import type { Message } from '../session/message.ts';
import { Outgoing, shapeIndex } from '../session/outgoing.ts';
import type { Session } from '../session/session.ts';
import type { Subscription } from '../session/subscription.ts';
import type { Statistics } from '../statistics.ts';
import type { HeldTopics } from './held-topics.ts';
import type { PublishRun } from './publish-run.ts';
import { RetainedMessages } from './retained.ts';
import { type Route, type Target, targetsOf } from './route.ts';
import type { SharedGroup } from './shared-group.ts';
import { SubscriptionTree } from './subscription-tree.ts';

/** Matches messages with subscriptions and hands them to the sessions. */
export class Router {
  readonly retained = new RetainedMessages();
  readonly #tree = new SubscriptionTree();
  readonly #authorizer: Authorizer;
  readonly #statistics: Statistics;
  readonly #clock: Clock;
  readonly #held: HeldTopics;
  readonly #routes = new Map<string, Route>();
  readonly #outgoing = new Outgoing();
  #routesGeneration = -1;
  #routesTargets = 0;
  #changes = 0;

  constructor(authorizer: Authorizer, statistics: Statistics, clock: Clock, held: HeldTopics) {
    this.#authorizer = authorizer;
    this.#statistics = statistics;
    this.#clock = clock;
    this.#held = held;
  }

  /** Grows with every change of a subscription or a right: a Route of an older generation no longer holds. */
  get generation(): number {
    return this.#changes + this.#authorizer.generation;
  }

  /** A session is used with other rights than before. */
  rightsChanged(): void {
    this.#changes++;
  }

  /** Adds a subscription, or replaces the session's one to the same filter. */
  subscribe(subscription: Subscription): void {
    const { session, filter } = subscription;
    const replaced = session.subscriptions.get(filter);
    session.subscriptions.set(filter, subscription);
    this.#tree.add(subscription);
    this.#changes++;
    if (replaced !== undefined) return;
    this.#statistics.subscriptions++;
    if (subscription.shareName !== null) this.#statistics.sharedSubscriptions++;
  }

  /** Ends a subscription; false when the session has none to this filter. */
  unsubscribe(session: Session, filter: string): boolean {
    const subscription = session.subscriptions.get(filter);
    if (subscription === undefined) return false;
    session.subscriptions.delete(filter);
    session.cancelRetained(filter);
    this.#tree.remove(subscription);
    this.#changes++;
    this.#statistics.subscriptions--;
    if (subscription.shareName !== null) this.#statistics.sharedSubscriptions--;
    return true;
  }

  /** A data stream has ended: what was subscribed to on it goes to the control stream. */
  streamEnded(session: Session, stream: number): void {
    for (const subscription of session.subscriptions.values())
      if (subscription.stream === stream) subscription.stream = 0;
    this.#changes++;
  }

  /** The data stream that this session gets the message on; 0: the control stream. */
  streamOf(session: Session, { message, sharedFilter }: Delivery): number {
    if (sharedFilter !== null) return session.subscriptions.get(sharedFilter)?.stream ?? 0;
    const target = this.route(message.topic).targets.find((each) => each.session === session);
    return target?.stream ?? 0;
  }

  /** Who gets messages of this topic name. Only subscribers that may receive it. */
  route(topic: string): Route {
    const generation = this.generation;
    const known = this.#routes.get(topic);
    if (known !== undefined && known.generation === generation) return known;
    const { subscriptions, groups } = this.#tree.match(topic);
    const allowed = subscriptions.filter((each) => this.#mayReceive(each, topic));
    const route: Route = {
      topic,
      generation,
      targets: targetsOf(allowed),
      groups,
      hold: this.#held.of(topic),
    };
    this.#remember(route);
    return route;
  }

  /** The one Outgoing of this broker, to be filled before `dispatch`. */
  get outgoing(): Outgoing {
    return this.#outgoing;
  }

  /**
   * Hands `outgoing` to everyone on the route. `publisher`: the session that sent it, for No Local; null for the broker.
   * Returns the number of receivers; those whose queue is full are counted in `outgoing.refused` instead.
   */
  dispatch(route: Route, qos: QoS, retain: boolean, publisher: Session | null): number {
    const out = this.#outgoing;
    const targets = route.targets;
    let receivers = 0;
    for (let index = 0; index < targets.length; index++) {
      let target = targets[index];
      if (target.session === publisher && target.own !== 'same') {
        // [MQTT-3.8.3-3]
        if (target.own === 'nothing') continue;
        target = target.own;
      }
      const granted = qos < target.qos ? qos : target.qos;
      // [MQTT-3.3.1-12] [MQTT-3.3.1-13]
      const { session, retainAsPublished, identifiers, stream } = target;
      if (session.deliver(out, granted, retain && retainAsPublished, identifiers, null, stream)) receivers++;
      else out.refused++;
    }
    for (const group of route.groups) if (this.#share(group, qos, retain)) receivers++;
    // A retained message waits for its subscribers already.
    if (receivers === 0 && out.refused === 0 && route.hold !== null && !retain) {
      if (route.hold.keep(out, qos)) receivers++;
      else if (qos > 0) out.refused++;
    }
    return receivers;
  }

  /** Hands a run of QoS 0 packets to everyone on its route: as one piece, or one by one to those who need another form. */
  dispatchRun(run: PublishRun, view: PublishView, nowMs: number): void {
    const targets = run.route!.targets;
    for (let index = 0; index < targets.length; index++) {
      const target = targets[index];
      const plain =
        target.identifiers === null && (target.own === 'same' || target.session !== run.publisher);
      if (!plain || !target.session.deliverRun(run, target.stream))
        this.#dispatchOneByOne(run, target, view, nowMs);
    }
  }

  /** Publishes a message at rest: a will, a `$SYS` value, a message that comes back from a shared subscription. */
  publishMessage(message: Message, publisher: Session | null): number {
    const nowMs = this.#clock.now();
    const route = this.route(message.topic);
    const out = this.#outgoing;
    out.fill(message, message.topic, message.expirySeconds(nowMs), message.publisherId, nowMs, message);
    const receivers = this.dispatch(route, message.qos, message.retain, publisher);
    out.clear();
    return receivers;
  }

  /** Gives a message to another member of the shared subscription; the session that had it has ended. */
  redeliver(sharedFilter: string, message: Message): void {
    const nowMs = this.#clock.now();
    const group = this.#tree.group(sharedFilter);
    const expirySeconds = message.expirySeconds(nowMs);
    if (group === null || expirySeconds === 0) return;
    const out = this.#outgoing;
    out.fill(message, message.topic, expirySeconds, message.publisherId, nowMs, message);
    this.#share(group, message.qos, message.retain);
    out.clear();
  }

  #dispatchOneByOne(run: PublishRun, target: Target, view: PublishView, nowMs: number): void {
    let to = target;
    if (target.session === run.publisher && target.own !== 'same') {
      if (target.own === 'nothing') return;
      to = target.own;
    }
    const out = this.#outgoing;
    const { topic } = run.route!;
    const publisherId = run.publisher!.clientId;
    for (let start = run.start; start < run.end; start = view.frameEnd) {
      view.parseAt(run.buffer, start, run.v5 ? 5 : 4);
      out.fill(view, topic, -1, publisherId, nowMs, null);
      out.offerVerbatim(shapeIndex(run.v5, 0, false), view.buffer, view.frameStart, view.frameEnd, 0);
      to.session.deliver(out, 0, false, to.identifiers, null, to.stream);
    }
    out.clear();
  }

  /** Routes of an older generation are of no use and would keep ended sessions alive. */
  #remember(route: Route): void {
    const full = this.#routes.size >= ROUTES_MAX || this.#routesTargets > ROUTE_TARGETS_MAX;
    if (full || this.#routesGeneration !== route.generation) {
      this.#routes.clear();
      this.#routesTargets = 0;
      this.#routesGeneration = route.generation;
    }
    this.#routes.set(route.topic, route);
    this.#routesTargets += route.targets.length;
  }

  #mayReceive(subscription: Subscription, topic: string): boolean {
    return this.#authorizer.may(subscription.session.identity, 'receive', topic);
  }

  #share(group: SharedGroup, qos: QoS, retain: boolean): boolean {
    const out = this.#outgoing;
    const member = group.pick((each) => this.#mayReceive(each, out.topic));
    if (member === null) return false;
    const granted = qos < member.qos ? qos : member.qos;
    const identifiers = member.identifier > 0 ? [member.identifier] : null;
    const { session, filter, retainAsPublished, stream } = member;
    const retained = retain && retainAsPublished;
    const taken = session.deliver(out, granted, retained, identifiers, filter, stream);
    if (!taken) out.refused++;
    return taken;
  }

  /** True when a message on this route would be written to the store at this QoS. */
  touchesStore(route: Route, qos: QoS): boolean {
    const stores = (session: Session, granted: QoS): boolean => session.stored && qos > 0 && granted > 0;
    return (
      (route.hold !== null && qos > 0 && route.targets.length === 0) ||
      route.targets.some((each) => stores(each.session, each.qos)) ||
      route.groups.some((group) => group.some((each) => stores(each.session, each.qos)))
    );
  }
}

/** Who takes part in a run: what each client is, publishes and subscribes to. */
import type { QoS } from '../../../src/codec/packets.ts';
import type { ClientOptions } from './client.ts';
import type { RetainedTopics } from './scene.ts';

export interface Publisher extends ClientOptions {
  readonly qos: QoS;
  readonly topics: readonly string[];
  readonly retain: boolean;
  /** One part in so many of the messages of a round. */
  readonly share: number;
}

export interface Subscriber extends ClientOptions {
  readonly filters: readonly { readonly filter: string; readonly qos: QoS; readonly identifier?: number }[];
  /** It is connected in one round out of so many. */
  readonly oneRoundIn: number;
}

function topics(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${prefix}/${index}`);
}

export const PUBLISHERS: readonly Publisher[] = [
  { id: 'p1', version: 4, qos: 1, topics: topics('t/p1', 2), retain: false, share: 1, window: 40 },
  { id: 'p2', version: 5, qos: 2, topics: topics('t/p2', 2), retain: false, share: 1, window: 25 },
  { id: 'p3', version: 5, qos: 1, topics: topics('t/p3', 2), retain: false, share: 1, window: 25 },
  { id: 'p4', version: 4, qos: 2, topics: topics('t/p4', 2), retain: false, share: 1, window: 40 },
  { id: 'p5', version: 5, qos: 2, topics: topics('low/p5', 1), retain: false, share: 16, window: 2 },
  { id: 'r1', version: 5, qos: 1, topics: topics('r/r1', 5), retain: true, share: 3, window: 10 },
  { id: 'r2', version: 4, qos: 2, topics: topics('r/r2', 5), retain: true, share: 3, window: 10 },
];

export const RETAINED: RetainedTopics = {
  filter: 'r/#',
  topics: PUBLISHERS.filter(({ retain }) => retain).flatMap((publisher) => publisher.topics),
  last: 'z/last',
};

export const SUBSCRIBERS: readonly Subscriber[] = [
  { id: 's1', version: 4, lazy: 5, oneRoundIn: 1, filters: [{ filter: 't/#', qos: 1 }] },
  {
    ...{ id: 's2', version: 5, lazy: 3, receiveMaximum: 12, oneRoundIn: 1 },
    filters: [{ filter: 't/#', qos: 2, identifier: 7 }],
  },
  {
    ...{ id: 'o1', version: 4, oneRoundIn: 3 },
    filters: [
      { filter: 't/+/0', qos: 2 },
      { filter: 't/+/1', qos: 1 },
    ],
  },
  {
    ...{ id: 'o2', version: 5, lazy: 2, receiveMaximum: 20, oneRoundIn: 4 },
    filters: [
      { filter: 't/p2/#', qos: 2, identifier: 268_435_455 },
      { filter: 't/p3/#', qos: 1 },
    ],
  },
  // Comes back at the end of the run only.
  {
    ...{ id: 'o3', version: 5, receiveMaximum: 50, oneRoundIn: Number.POSITIVE_INFINITY },
    filters: [
      { filter: 't/p4/#', qos: 2 },
      { filter: 't/p1/#', qos: 2 },
    ],
  },
  { id: 'm1', version: 5, lazy: 1, oneRoundIn: 1, filters: [{ filter: '$share/pair/t/#', qos: 2 }] },
  { id: 'm2', version: 4, oneRoundIn: 2, filters: [{ filter: '$share/pair/t/#', qos: 2 }] },
];

/** Clients that subscribe, unsubscribe, come and go in every round. */
export const CHURNERS: readonly ClientOptions[] = [
  { id: 'c1', version: 5, lazy: 1 },
  { id: 'c2', version: 4 },
];
export const CHURNED_FILTERS: readonly string[] = [
  ...PUBLISHERS.filter(({ retain }) => !retain).flatMap((publisher) => publisher.topics),
  RETAINED.filter,
];

/** What the clients that are new in a round subscribe to. */
export const GUEST_FILTER = 'low/#';

/** What `npm run bench` measures, and what Sluice is meant to reach. */

export interface Scenario {
  readonly name: string;
  readonly title: string;
  /** Flags of the load generator, without broker, login and duration. */
  readonly load: readonly string[];
  /** `received`: deliveries a second; `published`: completed publishes a second; `idle`: silent connections. */
  readonly measures: 'received' | 'published' | 'idle';
  /** The rate as a multiple of Mosquitto's in the same run. */
  readonly timesMosquittoMin?: number;
}

/** Without login: this is about connections, not about hashing passwords. */
export const IDLE_KB_MAX = 8;
export const CONNECTS_PER_SECOND_MIN = 10_000;
/** Garbage per QoS 0 message forwarded, in steady state. */
export const GARBAGE_BYTES_MAX = 64;
/** Publish cost with a million subscriptions that do not match, over that with a thousand. */
export const SUBSCRIPTIONS_COST_RATIO_MAX = 2;

/** QoS 1 messages a second to an absent session, each acknowledged after it is on the disk. */
export const DURABLE_PER_SECOND_MIN = 100_000;
/** The same over Mosquitto's rate, which acknowledges before it writes. */
export const DURABLE_TIMES_MOSQUITTO_MIN = 10;
/** What the broker may grow by while a million messages wait for one absent session, in MB. */
export const QUEUED_MILLION_MB_MAX = 64;

/** 99th percentile from publisher to subscriber beside an attack of strangers, over that of the same load alone. */
export const STRANGERS_P99_RATIO_MAX = 2;

export const SCENARIOS: readonly Scenario[] = [
  { name: '1-1', title: '1 → 1 QoS 0', load: [], measures: 'received', timesMosquittoMin: 10 },
  { name: '20-1', title: '20 → 1 QoS 0', load: ['--pubs', '20'], measures: 'received', timesMosquittoMin: 8 },
  {
    name: '1-20',
    title: '1 → 20 QoS 0',
    load: ['--subs', '20'],
    measures: 'received',
    timesMosquittoMin: 10,
  },
  {
    name: '20-20',
    title: '20 → 20 QoS 0',
    load: ['--pubs', '20', '--subs', '20'],
    measures: 'received',
    timesMosquittoMin: 8,
  },
  {
    name: '1-1-qos1',
    title: '1 → 1 QoS 1',
    load: ['--qos', '1'],
    measures: 'received',
    timesMosquittoMin: 9,
  },
  {
    name: '1-1-qos2',
    title: '1 → 1 QoS 2',
    load: ['--qos', '2'],
    measures: 'received',
    timesMosquittoMin: 9,
  },
  {
    name: '1000-qos1',
    title: '1000 publishers, window 1, QoS 1',
    load: ['--pubs', '1000', '--pwin', '1', '--qos', '1', '--nosub'],
    measures: 'published',
    timesMosquittoMin: 0.9,
  },
  {
    name: '1000-qos2',
    title: '1000 publishers, window 1, QoS 2',
    load: ['--pubs', '1000', '--pwin', '1', '--qos', '2', '--nosub'],
    measures: 'published',
    timesMosquittoMin: 0.9,
  },
  {
    name: '1000-topics',
    title: '1000 own topics 1 → 1 QoS 0',
    load: ['--pubs', '1000', '--subs', '1000', '--own'],
    measures: 'received',
    timesMosquittoMin: 4,
  },
  { name: '4k', title: '1 → 1 QoS 0, 4 KB', load: ['--size', '4096'], measures: 'received' },
  { name: 'idle', title: '10 000 idle connections', load: ['--idle', '10000'], measures: 'idle' },
];

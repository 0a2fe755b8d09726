/** What a publish costs when many subscriptions exist that it does not match. */
import { type RunningBroker, startBroker } from './brokers.ts';
import { cpuSeconds, rssMb } from './process.ts';
import { RawClient } from './raw-client.ts';

export interface PublishCost {
  readonly subscriptions: number;
  /** Broker CPU per QoS 1 publish, in microseconds. */
  readonly cpuUsPerPublish: number;
  readonly rssMb: number;
}

const COUNTS = [1_000, 1_000_000] as const;
const FILTERS_PER_CLIENT = 100_000;
const FILTERS_PER_PACKET = 1_000;
/** Topics that one after the other are published to, so that no broker can answer from memory of the last one. */
const TOPICS = 5_000;
const PUBLISHES = 200_000;
const WARM_UP_PUBLISHES = 100_000;

/** Runs Sluice alone, once for each number of subscriptions. */
export async function measureSubscriptions(): Promise<PublishCost[]> {
  const results: PublishCost[] = [];
  for (const subscriptions of COUNTS) {
    const limits = { subscriptionsPerClientMax: FILTERS_PER_CLIENT };
    const broker = await startBroker('sluice', { open: false, config: { limits } });
    try {
      results.push(await measure(broker, subscriptions));
    } finally {
      await broker.stop();
    }
  }
  return results;
}

async function measure(broker: RunningBroker, subscriptions: number): Promise<PublishCost> {
  const subscribers: RawClient[] = [];
  for (let first = 0; first < subscriptions; first += FILTERS_PER_CLIENT) {
    const client = await RawClient.open(broker.port, `subscriber-${first}`);
    const count = Math.min(FILTERS_PER_CLIENT, subscriptions - first);
    for (let at = first; at < first + count; at += FILTERS_PER_PACKET) {
      await client.subscribe(Array.from({ length: FILTERS_PER_PACKET }, (_, index) => filterOf(at + index)));
    }
    subscribers.push(client);
  }
  const publisher = await RawClient.open(broker.port, 'publisher');
  await publisher.publishMany(WARM_UP_PUBLISHES, topicOf);
  const before = cpuSeconds(broker.pid);
  await publisher.publishMany(PUBLISHES, topicOf);
  const cpuUsPerPublish = ((cpuSeconds(broker.pid) - before) * 1e6) / PUBLISHES;
  for (const client of [...subscribers, publisher]) client.close();
  return { subscriptions, cpuUsPerPublish, rssMb: rssMb(broker.pid) };
}

/** Half of the filters share all but their last level with a topic that is published; a tenth ends in a wildcard. */
function filterOf(index: number): string {
  const site = `bench/site/${index % TOPICS}`;
  if (index % 10 === 0) return `${site}/other/${index}/#`;
  return index % 2 === 0 ? `${site}/device/${index}` : `bench/fleet/${index}/+/state`;
}

function topicOf(index: number): string {
  return `bench/site/${index % TOPICS}/device/data`;
}

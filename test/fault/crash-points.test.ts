/** The core on a store that crashes, in this process: hundreds of crash points, each of which its seed repeats exactly. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../codec/random-packets.ts';
import { CoreStage } from './harness/core-stage.ts';
import type { Weather } from './harness/crashing-store.ts';
import type { Event } from './harness/history.ts';
import { History } from './harness/history.ts';
import { Run, type Scale } from './harness/run.ts';

const ROUNDS = 8;
const SCALE: Scale = { messages: 25, bytes: 60, killWithin: 1_500 };
/** So many that queues are longer than what a session keeps of them in memory. */
const LONG: Scale = { messages: 500, bytes: 60, killWithin: 25_000 };

interface Totals {
  crashes: number;
  acknowledged: number;
  refused: number;
}

/** Plays a run for each of `count` seeds from `from` on; returns what all of them together were. */
async function play(
  from: number,
  count: number,
  scale: Scale,
  weather: (random: Random) => Weather,
): Promise<Totals> {
  const totals = { crashes: 0, acknowledged: 0, refused: 0 };
  for (let seed = from; seed < from + count; seed++) {
    const history = new History();
    const stage = new CoreStage(history, new Random(seed), weather);
    await new Run(stage, history, seed, scale).play(ROUNDS);
    totals.crashes += ROUNDS;
    for (const event of history.events) countInto(totals, event);
  }
  return totals;
}

function countInto(totals: Totals, event: Event): void {
  if (event.kind !== 'acknowledged') return;
  if (event.code < 0x80) totals.acknowledged++;
  else totals.refused++;
}

function slow(random: Random): Weather {
  return { delayTurnsMax: random.below(12), failsAfterBatches: null, fullBatches: null };
}

test('nothing acknowledged is lost when the store is slow and the power goes at any moment', async (t) => {
  const totals = await play(1, 30, SCALE, slow);
  t.diagnostic(JSON.stringify(totals));
  assert.ok(totals.acknowledged > totals.crashes * 20, JSON.stringify(totals));
});

test('nothing acknowledged is lost from queues that are longer than memory keeps', async (t) => {
  const totals = await play(1, 3, LONG, slow);
  t.diagnostic(JSON.stringify(totals));
  assert.ok(totals.acknowledged > totals.crashes * 100, JSON.stringify(totals));
});

test('nothing acknowledged is lost when the store fails at any batch', async (t) => {
  const totals = await play(1, 25, SCALE, (random) => ({
    ...slow(random),
    failsAfterBatches: random.below(60),
  }));
  t.diagnostic(JSON.stringify(totals));
  assert.ok(totals.acknowledged > totals.crashes * 10, JSON.stringify(totals));
});

test('nothing acknowledged is lost when the store is full for a while, and what is refused is told', async (t) => {
  const totals = await play(1, 25, { ...SCALE, mayRefuse: true }, (random) => {
    const from = random.below(40);
    return { ...slow(random), fullBatches: [from, from + 1 + random.below(40)] };
  });
  t.diagnostic(JSON.stringify(totals));
  assert.ok(totals.acknowledged > totals.crashes * 10, JSON.stringify(totals));
  assert.ok(totals.refused > totals.crashes, JSON.stringify(totals));
});

/** The broker in a process of its own, killed with SIGKILL in the midst of its work, again and again on the same folder. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { playKills } from './harness/kill-run.ts';

const ROUNDS = 10;

for (const seed of [1, 2, 3, 4, 5]) {
  test(`nothing acknowledged is lost in ${ROUNDS} rounds of load and SIGKILL with seed ${seed}`, async (t) => {
    const totals = await playKills(seed, ROUNDS);
    t.diagnostic(JSON.stringify(totals));
    assert.ok(totals.acknowledged > ROUNDS * 20 && totals.received > ROUNDS * 100, JSON.stringify(totals));
  });
}

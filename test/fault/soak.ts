/** `npm run soak -- [ROUNDS] [SEED]`: as test/fault/kill.test.ts, for as long as one likes; 500 rounds unless told. */
import { playKills } from './harness/kill-run.ts';

/** Rounds with one seed and one folder: what is in it grows with them. */
const ROUNDS_PER_SEED = 25;
const ROUNDS = 500;

async function soak(rounds: number, firstSeed: number): Promise<void> {
  for (let done = 0, seed = firstSeed; done < rounds; seed++) {
    const part = Math.min(ROUNDS_PER_SEED, rounds - done);
    const started = performance.now();
    const { acknowledged, received } = await playKills(seed, part);
    done += part;
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    const what = `${acknowledged} messages acknowledged, ${received} received`;
    process.stdout.write(`${done} of ${rounds} rounds: seed ${seed}, ${what}, ${seconds} s\n`);
  }
}

const [rounds = ROUNDS, seed = 1] = process.argv.slice(2).map(Number);
if (!Number.isSafeInteger(rounds) || rounds < 1 || !Number.isSafeInteger(seed)) {
  process.stderr.write('usage: npm run soak -- [ROUNDS] [SEED], both whole numbers\n');
  process.exitCode = 2;
} else {
  try {
    await soak(rounds, seed);
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    process.exitCode = 1;
  }
}

/** Seeded random and damaged SCRAM messages: whatever comes, `next` gives a step, and nobody gets in by it. `FUZZ_SEED` repeats a run. */
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { test } from 'node:test';
import { parsePasswordFile } from '../../auth/passwords/password-file.ts';
import { ScramAuthenticator } from '../../auth/scram/scram.ts';
import { hashScram } from '../../auth/scram/scram-hash.ts';
import type { Step } from '../../src/interfaces/auth.ts';
import { Random } from '../codec/random-packets.ts';
import { attempt } from '../contract/authenticator.ts';
import { ScramClient } from '../support/scram-client.ts';

const ROUNDS = 3_000;
const SEED = Number(process.env.FUZZ_SEED ?? randomInt(1, 2 ** 31));
/** What a parser may stumble over. */
const PIECES = [
  ',',
  '=',
  'n,,',
  'p=',
  'a=',
  'm=',
  'r=',
  'c=',
  '=2C',
  '=3',
  '\0',
  '\u00ad',
  '\u0627',
  '\ud83d\ude42',
  '\ufeff',
  '$',
  'e=',
];

function damaged(random: Random, message: Buffer): Buffer {
  const at = random.below(message.length + 1);
  const [before, after] = [message.subarray(0, at), message.subarray(at)];
  switch (random.below(6)) {
    case 0:
      return Buffer.concat([before, Buffer.from(random.pick(PIECES)), after]);
    case 1:
      return Buffer.concat([before, after.subarray(1 + random.below(8))]);
    case 2:
      return Buffer.concat([before, Buffer.of(random.below(256)), after.subarray(1)]);
    case 3:
      return Buffer.concat([before, message, after]);
    case 4:
      return Buffer.from(Array.from({ length: random.below(300) }, () => random.below(256)));
    default:
      return Buffer.from(Array.from({ length: random.below(12) }, () => random.pick(PIECES)).join(''));
  }
}

function isStep(step: Step): boolean {
  if (step.kind === 'continue') return step.data === null || step.data.length > 0;
  return step.verdict.ok ? step.data !== null : step.data === null;
}

test(`random and damaged SCRAM messages get an answer and let nobody in, with seed ${SEED}`, async () => {
  const line = await hashScram(Buffer.from('pencil'), Buffer.alloc(16, 1), 4_096);
  const one = new ScramAuthenticator({ users: parsePasswordFile(`user:${line}\n`, 'passwd') });
  const random = new Random(SEED);
  let answered = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const client = new ScramClient({ username: 'user', password: 'wrong' });
    const exchange = one.exchange('SCRAM-SHA-256', attempt())!;
    const first = random.chance(3) ? damaged(random, client.first()) : client.first();
    let step = exchange.next(first) as Step;
    assert.ok(isStep(step), first.toString('hex'));
    for (let more = 0; more < 3 && step.kind === 'continue'; more++) {
      const said = Buffer.from(step.data ?? []).toString();
      if (said.startsWith('r=')) answered++;
      const final = Buffer.from(`c=biws,${said},p=${'A'.repeat(43)}=`);
      const message = damaged(random, final);
      step = exchange.next(message) as Step;
      assert.ok(isStep(step), message.toString('hex'));
    }
    assert.ok(step.kind === 'end' && !step.verdict.ok, 'nobody gets in, and every exchange ends');
    assert.ok((exchange.next(client.first()) as Step).kind === 'end', 'what is over stays over');
  }
  assert.ok(answered > ROUNDS / 3, `only ${answered} came past the first message`);
});

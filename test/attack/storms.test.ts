/** Many at once: thousands of clients that die with a will, and a client id that everybody wants. */
import assert from 'node:assert/strict';
import { PacketType } from '../../src/codec/packets.ts';
import { DEFAULT_FLAPPING_LIMITS } from '../../src/limits.ts';
import type { DoorClient } from '../bad-input/door-client.ts';
import { connect, puback } from '../support/packets.ts';
import { DOOR_URLS, DOORS, type DoorName } from './harness/doors.ts';
import { attackBroker } from './harness/target.ts';

const VERSIONS = [3, 4, 5] as const;
const DYING = 3_000;
const AT_ONCE = 100;
const WITNESSES = 10;

attackBroker(
  `${DYING} clients that die at once have their wills published, each once, to ${WITNESSES} who read them`,
  { config: { limits: { queueMessagesMax: DYING } } },
  async (target) => {
    const witnesses: DoorClient[] = [];
    for (let number = 0; number < WITNESSES; number++) {
      const witness = await target.connect({ clientId: `witness-${number}` }, 'tcp', 1 + number);
      await witness.subscribe('will/#', 1);
      witnesses.push(witness);
    }
    const dying: DoorClient[] = [];
    await target.canary.singDuring(DYING / AT_ONCE, async (step) => {
      const batch = Array.from({ length: AT_ONCE }, (_, index) => {
        const number = step * AT_ONCE + index;
        const will = { topic: `will/${number}`, payload: 'x'.repeat(1_000), qos: 1 as const };
        return target.connect({ clientId: `dying-${number}`, will }, 'tcp', 100 + number);
      });
      dying.push(...(await Promise.all(batch)));
    });
    const growth = await target.assertGrownBy(DYING * 12_000, `${DYING} clients with wills`);
    target.tell(`${Math.round(growth / DYING / 1_024)} KB for each client with a will of 1 KB`);
    for (const { raw } of dying) raw.abort();
    const wills = witnesses.map(async (witness) => {
      const seen = new Set<string>();
      for (let count = 0; count < DYING; count++) {
        const { topic, packetId } = await witness.expect('PUBLISH');
        seen.add(topic);
        witness.send(puback(packetId));
      }
      assert.equal(seen.size, DYING, 'each will once');
      await witness.expectQuiet();
    });
    await target.canary.singDuring(20, () => {});
    await Promise.all(wills);
    for (const { raw } of witnesses) raw.end();
  },
);

for (const [what, hosts] of [
  ['a host each', 500],
  ['one host', 1],
] as const) {
  attackBroker(
    `a takeover storm on one client id, through all doors at once and from ${what}, leaves one connection at most`,
    { doors: DOOR_URLS },
    async (target) => {
      const open = new Set<DoorClient>();
      const reasons = new Map<string, number>();
      let number = 0;
      const fight = async (door: DoorName, version: 3 | 4 | 5, step: number): Promise<void> => {
        const fighter = await target.client(door, version, 1 + (number++ % hosts));
        const properties = version === 5 ? { sessionExpiryInterval: step % 2 } : {};
        fighter.send(connect({ version, clientId: 'wanted', cleanStart: step % 3 === 0, properties }));
        const answer = await fighter.next();
        const code = answer?.type === PacketType.CONNACK ? answer.reasonCode : 'none';
        reasons.set(String(code), (reasons.get(String(code)) ?? 0) + 1);
        if (code !== 0) return;
        open.add(fighter);
        fighter.raw.onClosed(() => void open.delete(fighter));
      };
      await target.canary.singDuring(27, async (step) => {
        const fights = DOORS.flatMap((door) => VERSIONS.map((version) => fight(door, version, step)));
        await Promise.all(fights);
      });
      await target.until(() => open.size <= 1, `one is left of ${open.size}`);
      target.tell(`CONNACK ${[...reasons].map(([code, count]) => `${code} ${count} times`).join(', ')}`);
      const letIn = reasons.get('0') ?? 0;
      if (hosts === 1) assert.ok(letIn <= DEFAULT_FLAPPING_LIMITS.connectsMax, `${letIn} were let in`);
      for (const { raw } of open) raw.end();
      // The id is not closed to whoever comes from elsewhere; his clean start ends what 3.1.1 left behind.
      const owner = await target.connect({ clientId: 'wanted' }, 'tcp', 1_000);
      await owner.expectQuiet();
      owner.raw.end();
    },
  );
}

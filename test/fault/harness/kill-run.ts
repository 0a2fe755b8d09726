/** Rounds of load and SIGKILL on the broker as a process. */
import type { Event } from './history.ts';
import { History } from './history.ts';
import { ProcessStage } from './process-stage.ts';
import { Run, type Scale } from './run.ts';

const SCALE: Scale = { messages: 60, bytes: 300, killWithin: 3_500 };

export interface KillTotals {
  rounds: number;
  acknowledged: number;
  received: number;
}

/** Plays a run of `rounds` kills; the folder stays where it is, and the error names it, when a promise was broken. */
export async function playKills(seed: number, rounds: number): Promise<KillTotals> {
  const history = new History();
  const stage = new ProcessStage();
  try {
    await new Run(stage, history, seed, SCALE).play(rounds);
  } catch (error) {
    stage.kill();
    await stage.gone();
    throw new Error(`${(error as Error).message}\nthe broker's folder is ${stage.directory}`, {
      cause: error,
    });
  }
  await stage.close();
  const count = (kind: Event['kind']): number => history.events.filter((event) => event.kind === kind).length;
  return { rounds, acknowledged: count('acknowledged'), received: count('message') };
}

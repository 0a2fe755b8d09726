/** How many bytes of JavaScript heap one forwarded QoS 0 message costs, read from V8's own account of its collections. */
import { startBroker } from './brokers.ts';
import { type Measured, runLoad } from './load.ts';

export interface Garbage {
  readonly scenario: string;
  readonly bytesPerMessage: number;
  readonly collections: number;
}

const SCENARIOS = [
  { scenario: '1 → 1 QoS 0', load: [] },
  { scenario: '1 → 20 QoS 0', load: ['--subs', '20'] },
] as const;

/** Runs Sluice alone, traced; `login` are the generator's flags for user and password. */
export async function measureGarbage(
  binary: string,
  login: readonly string[],
  seconds: number,
): Promise<Garbage[]> {
  const results: Garbage[] = [];
  for (const { scenario, load } of SCENARIOS) {
    const broker = await startBroker('sluice', { open: false, nodeFlags: ['--trace-gc', '--trace-gc-nvp'] });
    try {
      const args = ['--port', String(broker.port), ...login, ...load];
      await runLoad(binary, [...args, '--seconds', '1']);
      const before = broker.output().length;
      const measured = await runLoad(binary, [...args, '--seconds', String(seconds)]);
      results.push({ scenario, ...account(broker.output().slice(before), measured) });
    } finally {
      await broker.stop();
    }
  }
  return results;
}

/** `allocated=` is what was allocated since the collection before, in bytes. */
function account(trace: string, measured: Measured): Omit<Garbage, 'scenario'> {
  const allocated = [...trace.matchAll(/\ballocated=(\d+)/g)].map((match) => Number(match[1]));
  const bytes = allocated.reduce((sum, one) => sum + one, 0);
  return { bytesPerMessage: bytes / measured.received, collections: allocated.length };
}

/**
 * `npm run bench [-- options] [scenario…]`: Sluice against Mosquitto and Aedes, one scenario after the other.
 * See bench/README.md.
 */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { BROKER_NAMES, type BrokerName, isInstalled, PASSWORD, startBroker, USER } from './brokers.ts';
import { DOOR_NAMES, DOOR_SCENARIO_NAMES, type DoorPlan, measureDoors } from './doors/doors.ts';
import { renderDoors } from './doors/report.ts';
import type { Congestion, DoorName } from './doors/task.ts';
import { measureDurable, measureQueue } from './durable.ts';
import { measureGarbage } from './garbage.ts';
import { compileLoadGenerator, type Measured, runLoad } from './load.ts';
import {
  judge,
  judgeDurable,
  judgeStartUp,
  judgeStrangers,
  type Result,
  rateOf,
  renderDurable,
  renderGoals,
  renderResults,
  renderStrangers,
} from './report.ts';
import { SCENARIOS, type Scenario } from './scenarios.ts';
import { measureStartUp } from './startup.ts';
import { measureStrangers } from './strangers.ts';
import { measureSubscriptions } from './subscriptions.ts';

const ROOT = path.join(import.meta.dirname, '..');
/** Measured apart from the table, by other means. */
const SPECIAL = ['garbage', 'subscriptions', 'durable', 'startup', 'strangers'] as const;
/** Takes minutes, and runs only when it is named. */
const STRANGERS = 'strangers';
/** Only where it is named: it takes as long as all the rest. */
const DOORS = 'doors';
const DOORS_SECONDS = 1;
const LOGIN = ['--user', USER, '--pass', PASSWORD];
const WARM_UP_SECONDS = 1;

interface Plan {
  readonly scenarios: readonly Scenario[];
  readonly special: readonly string[];
  readonly brokers: readonly BrokerName[];
  readonly repeat: number;
  readonly seconds: number;
  readonly v5: boolean;
  readonly json?: string;
  /** Null: not wanted. */
  readonly doors: DoorPlan | null;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Throws with a message for the user when the arguments make no sense. */
function readPlan(args: readonly string[]): Plan {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      only: { type: 'string', multiple: true },
      repeat: { type: 'string', default: '1' },
      seconds: { type: 'string' },
      v5: { type: 'boolean', default: false },
      json: { type: 'string' },
      door: { type: 'string', multiple: true, default: [...DOOR_NAMES] },
      link: { type: 'string', default: 'auto' },
      congestion: { type: 'string', default: 'cubic' },
    },
  });
  const names: string[] = [
    ...SCENARIOS.map(({ name }) => name),
    ...SPECIAL,
    DOORS,
    ...DOOR_SCENARIO_NAMES.map((name) => `${DOORS}/${name}`),
  ];
  const unknown = positionals.find((name) => !names.includes(name));
  if (unknown !== undefined)
    throw new Error(`there is no scenario ${unknown}; choose from ${names.join(', ')}`);
  const brokers = (values.only ?? BROKER_NAMES) as BrokerName[];
  const stranger = brokers.find((name) => !BROKER_NAMES.includes(name));
  if (stranger !== undefined)
    throw new Error(`there is no broker ${stranger}; choose from ${BROKER_NAMES.join(', ')}`);
  const repeat = Math.max(1, Number(values.repeat) || 1);
  const seconds = Number(values.seconds) || undefined;
  const doors: DoorPlan = {
    scenarios: DOOR_SCENARIO_NAMES.filter(
      (name) => positionals.includes(DOORS) || positionals.includes(`${DOORS}/${name}`),
    ),
    doors: values.door as DoorName[],
    seconds: seconds ?? DOORS_SECONDS,
    repeat,
    means: oneOf('link', values.link, ['auto', 'netem', 'emulator']),
    congestion: oneOf<Congestion>('congestion', values.congestion, ['cubic', 'bbr', 'reno']),
  };
  for (const door of values.door) oneOf('door', door, DOOR_NAMES);
  const isChosen = (name: string): boolean => positionals.length === 0 || positionals.includes(name);
  return {
    scenarios: SCENARIOS.filter(({ name }) => isChosen(name)),
    special: brokers.includes('sluice')
      ? SPECIAL.filter((name) => isChosen(name) && (name !== STRANGERS || positionals.includes(name)))
      : [],
    brokers: brokers.filter(isInstalled),
    repeat,
    seconds: seconds ?? 3,
    doors: doors.scenarios.length > 0 ? doors : null,
    v5: values.v5,
    ...(values.json === undefined ? {} : { json: values.json }),
  };
}

function oneOf<T extends string>(flag: string, value: string, choices: readonly T[]): T {
  const found = choices.find((choice) => choice === value);
  if (found === undefined) throw new Error(`--${flag} cannot be ${value}; choose from ${choices.join(', ')}`);
  return found;
}

/** A fresh broker for every run, so that no scenario inherits another's memory or compiled code. */
async function runOnce(
  binary: string,
  scenario: Scenario,
  broker: BrokerName,
  plan: Plan,
): Promise<Measured> {
  const isIdle = scenario.measures === 'idle';
  const running = await startBroker(broker, { open: isIdle });
  try {
    const version = plan.v5 && broker !== 'aedes' ? ['--v5'] : [];
    const common = [
      '--port',
      String(running.port),
      '--pid',
      String(running.pid),
      ...version,
      ...scenario.load,
    ];
    if (isIdle) return await runLoad(binary, common);
    await runLoad(binary, [...common, ...LOGIN, '--seconds', String(WARM_UP_SECONDS)]);
    return await runLoad(binary, [...common, ...LOGIN, '--seconds', String(plan.seconds)]);
  } finally {
    await running.stop();
  }
}

async function runTable(binary: string, plan: Plan): Promise<Result[]> {
  const results: Result[] = [];
  for (const scenario of plan.scenarios) {
    const runs = new Map<BrokerName, Measured[]>(plan.brokers.map((broker) => [broker, []]));
    const errors = new Map<BrokerName, string>();
    for (let round = 0; round < plan.repeat; round += 1) {
      for (const broker of plan.brokers) {
        try {
          const run = await runOnce(binary, scenario, broker, plan);
          runs.get(broker)!.push(run);
          print(`${scenario.title}: ${broker} ${Math.round(rateOf(scenario, run))}/s`);
        } catch (error) {
          errors.set(broker, (error as Error).message);
          print(`${scenario.title}: ${broker} failed: ${(error as Error).message}`);
        }
      }
    }
    for (const broker of plan.brokers) {
      const error = errors.get(broker);
      results.push({ scenario, broker, runs: runs.get(broker)!, ...(error === undefined ? {} : { error }) });
    }
  }
  return results;
}

function build(): boolean {
  return spawnSync('npm', ['run', '--silent', 'build'], { cwd: ROOT, stdio: 'inherit' }).status === 0;
}

async function main(): Promise<number> {
  const plan = readPlan(process.argv.slice(2));
  const binary = compileLoadGenerator();
  if (plan.brokers.includes('sluice') && !build()) return 1;
  const absent = BROKER_NAMES.filter((name) => !isInstalled(name));
  if (absent.length > 0) print(`not installed, so left out: ${absent.join(', ')}`);
  const results = await runTable(binary, plan);
  const garbage = plan.special.includes('garbage') ? await measureGarbage(binary, LOGIN, plan.seconds) : [];
  const costs = plan.special.includes('subscriptions') ? await measureSubscriptions() : [];
  const wantsDurable = plan.special.includes('durable');
  const durable = wantsDurable
    ? await measureDurable(binary, LOGIN, plan.seconds, plan.repeat, plan.brokers)
    : [];
  const queue = wantsDurable ? await measureQueue(binary, LOGIN) : null;
  const startUps = plan.special.includes('startup') ? await measureStartUp() : [];
  const strangers = plan.special.includes('strangers')
    ? await measureStrangers(binary, LOGIN, plan.seconds, plan.repeat)
    : [];
  const doors = plan.doors === null ? null : await measureDoors(plan.doors, print);
  const goals = [
    ...judge(results, garbage, costs),
    ...judgeDurable(durable, queue),
    ...judgeStartUp(startUps),
    ...judgeStrangers(strangers),
  ];
  print(`\nNode ${process.versions.node}, ${cpus().length} × ${cpus()[0]?.model.trim()}\n`);
  if (results.length > 0) print(`${renderResults(results)}\n`);
  for (const { subscriptions, cpuUsPerPublish, rssMb } of costs) {
    print(
      `${subscriptions} subscriptions: ${cpuUsPerPublish.toFixed(2)} µs CPU a publish, ${rssMb.toFixed(0)} MB`,
    );
  }
  if (durable.length > 0) print(`\n${renderDurable(durable, queue)}`);
  for (const { what, seconds, rssMb } of startUps)
    print(`start with ${what}: ${seconds.toFixed(2)} s, ${rssMb.toFixed(0)} MB`);
  if (strangers.length > 0) print(`\n${renderStrangers(strangers)}`);
  if (doors !== null) print(renderDoors(doors));
  if (goals.length > 0) print(`\n${renderGoals(goals)}`);
  if (plan.json !== undefined)
    writeFileSync(
      plan.json,
      JSON.stringify({ results, garbage, costs, durable, queue, startUps, strangers, doors, goals }, null, 2),
    );
  return 0;
}

try {
  process.exitCode = await main();
} catch (error) {
  print((error as Error).message);
  process.exitCode = 1;
}

/**
 * `npm run test:paho -- DIRECTORY [--only TEST…] [--against PORT]`: the Paho interoperability suites from a checkout of
 * eclipse/paho.mqtt.testing, MQTT 3.1.1 and 5.0, over TCP and over TLS, each against a fresh broker.
 * `--against` runs them over TCP against another broker that listens on that loopback port, to compare.
 */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { startChildBroker } from '../support/child-broker.ts';
import { pathOf, whyMissing } from '../tools/apt.ts';
import { startTlsForwarder } from './tls-forwarder.ts';

const SUITES = [
  { name: 'MQTT 3.1.1', module: 'client_test' },
  { name: 'MQTT 5.0', module: 'client_test5' },
] as const;

/** One topic must be refused to subscribers (test_subscribe_failure); everything else is open to anybody. */
const ACL = 'all\ndeny subscribe test/nosubscribe\nallow readwrite #\nallow readwrite $TopicA/#\n';

/** Settings the suites take for granted. */
const LIMITS = {
  // test_server_keep_alive asks for 120 s and expects to be told 60.
  keepAliveMaxSeconds: 60,
  // Below 65 535, test_maximum_packet_size also sends a packet that is too large for the broker.
  packetBytesMax: 60_000,
  connectPacketBytesMax: 32_768,
};

/** Tests that ask for more than the specification, or for something else. Everything not named here must pass. */
const WRONG_BY_SPECIFICATION: Readonly<Record<string, string>> = {
  'client_test5 test_subscribe_failure':
    'it accepts only 0x80 in a SUBACK, and its client takes any other refusal for a malformed packet; [MQTT-3.9.3-2] ' +
    'and the table above it allow every Subscribe Reason Code, and 0x87 Not authorized is the one that applies',
};

interface Outcome {
  readonly test: string;
  readonly outcome: 'pass' | 'fail' | 'skip';
  readonly seconds: number;
  readonly detail: string;
}

interface Report {
  readonly title: string;
  readonly module: string;
  readonly outcomes: readonly Outcome[];
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Runs one suite against a port; each outcome is printed as it comes. */
function runSuite(
  title: string,
  directory: string,
  module: string,
  port: number,
  only: readonly string[],
): Promise<Report> {
  const driver = path.join(import.meta.dirname, 'driver.py');
  const args = [driver, directory, module, '127.0.0.1', String(port), ...only];
  const child = spawn(pathOf('python3')!, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const outcomes: Outcome[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => {
    const outcome = JSON.parse(line) as Outcome;
    outcomes.push(outcome);
    print(`${outcome.outcome.padEnd(4)} ${title} ${outcome.test} (${outcome.seconds} s)`);
  });
  return new Promise((resolve) => child.once('close', () => resolve({ title, module, outcomes })));
}

async function runOverTcp(
  suite: (typeof SUITES)[number],
  directory: string,
  only: readonly string[],
): Promise<Report> {
  const broker = await startChildBroker({ allowAnonymous: true, acl: ACL, config: { limits: LIMITS } });
  try {
    return await runSuite(`${suite.name} over TCP`, directory, suite.module, broker.port('mqtt'), only);
  } finally {
    await broker.stop();
  }
}

async function runOverTls(
  suite: (typeof SUITES)[number],
  directory: string,
  only: readonly string[],
): Promise<Report> {
  const doors = ['mqtts://127.0.0.1:0'];
  const broker = await startChildBroker({
    doors,
    allowAnonymous: true,
    acl: ACL,
    config: { limits: LIMITS },
  });
  const forwarder = await startTlsForwarder(broker.port('mqtts'), readFileSync(broker.caFile, 'utf8'));
  try {
    return await runSuite(`${suite.name} over TLS`, directory, suite.module, forwarder.port, only);
  } finally {
    await forwarder.close();
    await broker.stop();
  }
}

/** The suites mostly sleep, so all of them run side by side, each against a broker of its own. */
function runAll(directory: string, only: readonly string[]): Promise<Report[]> {
  return Promise.all(
    SUITES.flatMap((suite) => [runOverTcp(suite, directory, only), runOverTls(suite, directory, only)]),
  );
}

/** Each suite begins by removing every retained message, so against one broker they take turns. */
async function compare(directory: string, port: number, only: readonly string[]): Promise<Report[]> {
  const reports: Report[] = [];
  for (const { name, module } of SUITES) reports.push(await runSuite(name, directory, module, port, only));
  return reports;
}

/** Prints why each failed test failed, then one line a suite. Returns whether all passed that are right by the specification. */
function summarise(reports: readonly Report[]): boolean {
  let allRight = true;
  for (const { title, module, outcomes } of reports) {
    for (const { test, detail } of outcomes.filter(({ outcome }) => outcome === 'fail')) {
      const excuse = WRONG_BY_SPECIFICATION[`${module} ${test}`];
      allRight = allRight && excuse !== undefined;
      print(
        `\n--- ${title} ${test}\n${excuse === undefined ? detail.trim() : `the test is wrong: ${excuse}`}`,
      );
    }
  }
  print('');
  for (const { title, outcomes } of reports) {
    const passed = outcomes.filter(({ outcome }) => outcome === 'pass').length;
    print(`${title}: ${passed} of ${outcomes.length} passed`);
  }
  return allRight && reports.some(({ outcomes }) => outcomes.length > 0);
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { only: { type: 'string', multiple: true }, against: { type: 'string' } },
  });
  const directory = path.join(positionals[0] ?? '.', 'interoperability');
  if (positionals.length !== 1 || !existsSync(path.join(directory, 'client_test5.py'))) {
    print(
      'usage: npm run test:paho -- DIRECTORY, a checkout of https://github.com/eclipse/paho.mqtt.testing',
    );
    return 2;
  }
  if (pathOf('python3') === null) {
    print(whyMissing('python3'));
    return 2;
  }
  const only = values.only ?? [];
  const reports =
    values.against === undefined
      ? await runAll(directory, only)
      : await compare(directory, Number(values.against), only);
  return summarise(reports) ? 0 : 1;
}

process.exitCode = await main();

/** The QUIC door among the others: what its listener may say, and what happens where its engine is not installed. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import mqtt from 'mqtt';
import { type ChildBroker, startChildBroker } from '../support/child-broker.ts';

/** Node, told that the package is not there. */
const WITHOUT_ENGINE = [
  '--import',
  `data:text/javascript,${encodeURIComponent(`
    import { registerHooks } from 'node:module';
    registerHooks({
      resolve(name, context, next) {
        if (name.startsWith('@matrixai/quic')) throw new Error('Cannot find package ' + name);
        return next(name, context);
      },
    });`)}`,
];

/** The log files number themselves. */
function logOf({ directory }: ChildBroker): string {
  const files = readdirSync(directory).filter((name) => name.endsWith('.log'));
  return files.map((name) => readFileSync(path.join(directory, name), 'utf8')).join('');
}

describe('a QUIC listener', () => {
  test('whose engine is missing stays shut, and the other doors open', async () => {
    const broker = await startChildBroker({
      doors: ['mqtt://127.0.0.1:0', 'quic://127.0.0.1:0'],
      nodeFlags: WITHOUT_ENGINE,
    });
    try {
      const client = await mqtt.connectAsync(broker.url('mqtt'), { reconnectPeriod: 0 });
      await client.endAsync();
      assert.doesNotMatch(broker.output(), /^quic:/m);
      assert.match(
        logOf(broker),
        /QUIC engine cannot be loaded.*Install @matrixai\/quic-.*door\.unavailable/,
      );
    } finally {
      await broker.stop();
    }
  });

  test('whose engine is missing, and that is the only one, is a reason not to start', async () => {
    const starting = startChildBroker({ doors: ['quic://127.0.0.1:0'], nodeFlags: WITHOUT_ENGINE });
    await assert.rejects(starting, /QUIC engine cannot be loaded/);
  });
});

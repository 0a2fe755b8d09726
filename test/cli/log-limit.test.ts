import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { LimitedLog } from '../../cli/log-limit.ts';
import type { Clock } from '../../src/interfaces/clock.ts';
import type { Log } from '../../src/interfaces/log.ts';

class ManualClock implements Clock {
  time = 0;
  task = (): void => {};
  now(): number {
    return this.time;
  }
  wallNow(): number {
    return this.time;
  }
  every(_intervalMs: number, task: () => void): () => void {
    this.task = task;
    return () => {
      this.task = () => {};
    };
  }
  advance(ms: number): void {
    this.time += ms;
    this.task();
  }
}

class Recorder implements Log {
  readonly lines: [string, string, object | undefined][] = [];
  debug(event: string, fields?: object): void {
    this.lines.push(['debug', event, fields]);
  }
  info(event: string, fields?: object): void {
    this.lines.push(['info', event, fields]);
  }
  warn(event: string, fields?: object): void {
    this.lines.push(['warn', event, fields]);
  }
  error(event: string, fields?: object): void {
    this.lines.push(['error', event, fields]);
  }
}

describe('repeated log lines', () => {
  const make = () => {
    const clock = new ManualClock();
    const inner = new Recorder();
    return { clock, inner, log: new LimitedLog(inner, clock) };
  };

  test('are passed on up to a hundred a second, then summed up in one', () => {
    const { clock, inner, log } = make();
    for (let i = 0; i < 150; i++) log.warn('bad.packet', { address: `10.0.0.1:${1024 + i}`, i });
    assert.equal(inner.lines.length, 100);
    clock.advance(1_000);
    assert.deepEqual(inner.lines[100], ['warn', 'bad.packet', { address: '10.0.0.1', suppressed: 50 }]);
    log.warn('bad.packet', { address: '10.0.0.1' });
    assert.equal(inner.lines.length, 102);
  });

  test('of connections that failed are twenty a second, from however many addresses', () => {
    const { clock, inner, log } = make();
    for (let i = 0; i < 50; i++) log.info('connection.failed', { address: `10.0.0.${i}:1024` });
    assert.equal(inner.lines.length, 20);
    assert.deepEqual(inner.lines[19], ['info', 'connection.failed', { address: '10.0.0.19:1024' }]);
    clock.advance(1_000);
    assert.deepEqual(inner.lines[20], ['info', 'connection.failed', { address: 'many', suppressed: 30 }]);
  });

  test('of one address or event leave those of others alone', () => {
    const { inner, log } = make();
    for (let i = 0; i < 150; i++) log.warn('bad.packet', { address: '10.0.0.1' });
    log.warn('bad.packet', { address: '10.0.0.2' });
    log.info('other', { address: '10.0.0.1' });
    assert.equal(inner.lines.length, 102);
  });

  test('from more addresses than are remembered share one count', () => {
    const { inner, log } = make();
    for (let i = 0; i < 12_000; i++) log.warn('bad.packet', { address: `host-${i}` });
    assert.equal(inner.lines.length, 10_100);
  });

  test('that were left out are told when the log closes', () => {
    const { inner, log } = make();
    for (let i = 0; i < 101; i++) log.error('broken');
    log.close();
    assert.deepEqual(inner.lines.at(-1), ['error', 'broken', { address: '', suppressed: 1 }]);
  });
});

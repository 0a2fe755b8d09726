/** The log: what a line may hold, where it goes, and that the files rotate. */
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { Logger } from '../../cli/logger.ts';
import type { LogConfig } from '../../config/types.ts';

const directory = mkdtempSync(join(tmpdir(), 'sluice-log-'));
after(() => rmSync(directory, { recursive: true }));

/** Between looks at what the thread that writes has done. */
const POLL_MS = 5;

const BASE: LogConfig = { level: 'info', file: '', maxSizeBytes: 1_048_576, maxFiles: 3, pretty: 'never' };

class Sink {
  text = '';
  readonly isTTY: boolean;
  constructor(isTTY = false) {
    this.isTTY = isTTY;
  }
  write(text: string): void {
    this.text += text;
  }
  get lines(): Record<string, unknown>[] {
    const lines = this.text.split('\n').filter((line) => line !== '');
    return lines.map((line) => JSON.parse(line));
  }
}

async function logLines(config: Partial<LogConfig>, write: (log: Logger) => void): Promise<Sink> {
  const stdout = new Sink();
  const log = await Logger.open({ ...BASE, ...config }, { stdout, stderr: new Sink() });
  write(log);
  await log.close();
  return stdout;
}

describe('a log line', () => {
  test('is one JSON object with level, time, event and fields', async () => {
    const { lines } = await logLines({}, (log) => log.info('client.connected', { clientId: 'a', port: 5 }));
    assert.equal(lines.length, 1);
    const { time, ...rest } = lines[0];
    assert.deepEqual(rest, { level: 'info', event: 'client.connected', clientId: 'a', port: 5 });
    assert.match(String(time), /^\d{4}-\d\d-\d\dT/);
  });

  test('has control characters, line separators, bidi overrides and lone surrogates escaped', async () => {
    const hostile = 'a\u0000\u001b[2J\n\u007f\u0085\u2028\u2029\u202e\u2066\u{e0041}\ud800z';
    const { text, lines } = await logLines({}, (log) =>
      log.info('x', { clientId: hostile, list: [hostile] }),
    );
    const escaped = 'a\\u0000\\u001b[2J\\u000a\\u007f\\u0085\\u2028\\u2029\\u202e\\u2066\\u{e0041}\\ud800z';
    assert.equal(lines[0].clientId, escaped);
    assert.deepEqual(lines[0].list, [escaped]);
    assert.doesNotMatch(text.slice(0, -1), /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u);
  });

  test('cuts long strings at 256 characters', async () => {
    const { lines } = await logLines({}, (log) => log.info('x', { topic: 'a'.repeat(1_000) }));
    assert.equal(lines[0].topic, `${'a'.repeat(256)}…`);
  });

  test('never holds a password, authentication data or a payload', async () => {
    const secret = Buffer.from('hunter2');
    const fields = {
      password: 'hunter2',
      nested: { authenticationData: secret },
      payload: secret,
      other: secret,
    };
    const { text, lines } = await logLines({}, (log) => log.info('x', fields));
    assert.doesNotMatch(text, /hunter2|104,117/);
    assert.equal(lines[0].password, '(not logged)');
    assert.equal(lines[0].other, '(7 bytes)');
  });

  test('cannot be made to carry a level, time or event of its own', async () => {
    const fields = { level: 'fatal', time: 'never', event: 'forged', __proto__: null };
    const { lines } = await logLines({}, (log) => log.info('x', fields));
    assert.equal(lines[0].level, 'info');
    assert.equal(lines[0].event, 'x');
    assert.equal(lines[0].event_, 'forged');
  });

  test('shows an error by message and code, and bounds what is nested', async () => {
    const ring: Record<string, unknown> = { error: Object.assign(new Error('no\nway'), { code: 'EX' }) };
    ring.ring = ring;
    const { lines } = await logLines({}, (log) => log.error('x', ring));
    assert.deepEqual(lines[0].error, { name: 'Error', message: 'no\\u000away', code: 'EX' });
  });

  test('below the level is not written', async () => {
    const { lines } = await logLines({ level: 'warn' }, (log) => {
      log.info('a');
      log.debug('b');
      log.warn('c');
    });
    assert.deepEqual(
      lines.map((line) => line.event),
      ['c'],
    );
  });

  test('is made readable on a terminal', async () => {
    const stdout = new Sink(true);
    const log = await Logger.open({ ...BASE, pretty: 'auto' }, { stdout, stderr: new Sink() });
    log.warn('client.refused', { clientId: 'a\u001b[2J' });
    await log.close();
    assert.match(stdout.text, /WARN.*client\.refused/);
    assert.match(stdout.text, /a\\\\?u001b\[2J/);
  });
});

describe('a log file', () => {
  test('holds everything logged before close, in a folder made for it, readable by owner and group', async () => {
    const file = join(directory, 'made', 'sluice.log');
    const stdout = new Sink();
    const stderr = new Sink();
    const log = await Logger.open({ ...BASE, file }, { stdout, stderr });
    for (let i = 0; i < 1_000; i++) log.info('x', { i });
    log.warn('careful');
    await log.close();
    log.info('late');
    const written = join(directory, 'made', 'sluice.1.log');
    const lines = readFileSync(written, 'utf8').trim().split('\n');
    assert.equal(lines.length, 1_001);
    assert.equal(statSync(written).mode & 0o777, 0o640);
    assert.equal(statSync(join(directory, 'made')).mode & 0o027, 0);
    assert.equal(stdout.text, '');
    assert.deepEqual(
      stderr.lines.map((line) => line.event),
      ['careful'],
    );
  });

  test('shows every error beside it, twenty warnings a second, and then how many there were more', async () => {
    const [stdout, stderr] = [new Sink(), new Sink()];
    const file = join(directory, 'shown', 'sluice.log');
    const log = await Logger.open({ ...BASE, file }, { stdout, stderr });
    for (let i = 0; i < 50; i++) log.warn('careful', { i });
    for (let i = 0; i < 30; i++) log.error('broken', { i });
    await log.close();
    const events = stderr.lines.map(({ event }) => event);
    assert.deepEqual(events, [...Array(20).fill('careful'), ...Array(30).fill('broken'), 'log.not_shown']);
    assert.equal(stderr.lines.at(-1)!.lines, 30);
    const written = readFileSync(join(directory, 'shown', 'sluice.1.log'), 'utf8');
    assert.equal(written.trim().split('\n').length, 80);
  });

  test('has an error at once, and what is not so urgent soon', async () => {
    const log = await Logger.open(
      { ...BASE, file: join(directory, 'soon', 'sluice.log') },
      { stdout: new Sink(), stderr: new Sink() },
    );
    const file = join(directory, 'soon', 'sluice.1.log');
    const has = (event: string): boolean => existsSync(file) && readFileSync(file, 'utf8').includes(event);
    log.error('urgent');
    while (!has('urgent')) await setTimeout(POLL_MS);
    log.info('news');
    while (!has('news')) await setTimeout(POLL_MS);
    await log.close();
  });

  test('rotates by size and keeps as many as it is told, older runs included', async () => {
    const folder = join(directory, 'rotating');
    const config = { ...BASE, file: join(folder, 'sluice.log'), maxSizeBytes: 4_096, maxFiles: 2 };
    for (let run = 0; run < 3; run++) {
      const log = await Logger.open(config, { stdout: new Sink(), stderr: new Sink() });
      for (let part = 0; part < 4; part++) {
        for (let i = 0; i < 50; i++) log.info('x', { text: 'a'.repeat(100) });
        // A file is left at the end of a write: several turns make several writes.
        await setTimeout(30);
      }
      await log.close();
    }
    const files = readdirSync(folder);
    assert.ok(files.length <= 3 && files.length >= 1, files.join());
    assert.ok(!files.includes('sluice.1.log'), files.join());
  });

  test('that was moved away is opened anew', async () => {
    const folder = join(directory, 'moved');
    const log = await Logger.open(
      { ...BASE, file: join(folder, 'sluice.log') },
      { stdout: new Sink(), stderr: new Sink() },
    );
    log.info('before');
    const file = join(folder, 'sluice.1.log');
    // The thread that writes may still be about to make it.
    while (!existsSync(file)) await setTimeout(POLL_MS);
    renameSync(file, join(folder, 'old'));
    await log.reopen();
    log.info('after');
    await log.close();
    assert.match(readFileSync(join(folder, 'old'), 'utf8'), /before/);
    assert.match(readFileSync(file, 'utf8'), /after/);
  });

  test('that cannot be written is an error that says what to do', async () => {
    writeFileSync(join(directory, 'plain'), '');
    const config = { ...BASE, file: join(directory, 'plain', 'sluice.log') };
    await assert.rejects(
      Logger.open(config, { stdout: new Sink(), stderr: new Sink() }),
      /log\.file: the log file .* cannot be opened .*Make its folder writable/,
    );
  });
});

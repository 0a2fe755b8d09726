import assert from 'node:assert/strict';
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { BANS_MAX, banFileReader, editBanFile, parseBanFile, readBanFile } from '../../auth/bans/ban-file.ts';
import type { Ban, BanKind } from '../../auth/bans/ban-list.ts';

const NOW = Date.UTC(2026, 5, 1);
const HOUR_MS = 3_600_000;

let directory: string;
let file: string;

function ban(kind: BanKind, value: string, parts: Partial<Ban> = {}): Ban {
  return { kind, value, sinceMs: NOW, untilMs: null, reason: '', ...parts };
}

function add(each: Ban, now = NOW): Promise<boolean> {
  return editBanFile(file, { action: 'add', ban: each }, now);
}

describe('The ban file', () => {
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'sluice-bans-'));
    file = join(directory, 'bans.jsonl');
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  it('gives back what was put in, whatever a name is made of', async () => {
    const bans = [
      ban('address', '203.0.113.7', { untilMs: NOW + HOUR_MS, reason: 'too curious' }),
      ban('network', '2001:db8::/32'),
      ban('user', '__proto__'),
      ban('user', '# "quoted"\n\u2028\u0000\\'),
      ban('client', ''),
      ban('client', '__proto__'),
    ];
    for (const each of bans) assert.equal(await add(each), false);
    assert.deepEqual(readBanFile(file).bans, bans);
    assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.deepEqual(readdirSync(directory), ['bans.jsonl']);
  });

  it('holds no bans when there is none, unless it was there before', async () => {
    const read = banFileReader();
    assert.deepEqual(read(file).bans, []);
    await add(ban('user', 'mallory'));
    assert.equal(read(file).bans.length, 1);
    rmSync(file);
    assert.throws(() => read(file), /bans\.jsonl: the ban file is gone/);
    writeFileSync(file, '', { mode: 0o600 });
    assert.deepEqual(read(file).bans, []);
  });

  it('keeps comments and other bans, replaces one of the same kind and value, and drops those that are over', async () => {
    writeFileSync(file, '# by hand\n\n', { mode: 0o600 });
    await add(ban('address', '203.0.113.7', { untilMs: NOW + HOUR_MS }));
    await add(ban('user', 'mallory'));
    assert.equal(await add(ban('user', 'mallory', { reason: 'again' })), true);
    assert.equal(await add(ban('client', 'mallory'), NOW + HOUR_MS), false);
    assert.deepEqual(
      readBanFile(file).bans.map(({ kind, value, reason }) => [kind, value, reason]),
      [
        ['user', 'mallory', 'again'],
        ['client', 'mallory', ''],
      ],
    );
    assert.ok(readFileSync(file, 'utf8').startsWith('# by hand\n\n{'));
    await editBanFile(file, { action: 'remove', kind: 'user', value: 'mallory' }, NOW);
    assert.deepEqual(
      readBanFile(file).bans.map(({ kind }) => kind),
      ['client'],
    );
    const gone = editBanFile(file, { action: 'remove', kind: 'user', value: 'mallory' }, NOW);
    await assert.rejects(gone, /there is no such ban/);
  });

  it('loses no ban of writers at the same time', async () => {
    const names = Array.from({ length: 12 }, (_, n) => `user ${n}`);
    await Promise.all(names.map((name) => add(ban('user', name))));
    const written = readBanFile(file).bans.map(({ value }) => value);
    assert.deepEqual(written.toSorted(), names.toSorted());
  });

  it('names the line of everything that is wrong, and uses nothing of such a file', () => {
    const good = '{"kind":"user","value":"a","since":"2026-06-01T00:00:00Z"}';
    const cases: [string, RegExp][] = [
      ['user mallory', /:2: the line is not valid JSON/],
      ['[]', /:2: the line is not a JSON object/],
      ['null', /:2: the line is not a JSON object/],
      ['{"kind":"host","value":"a","since":"2026-06-01T00:00:00Z"}', /:2: the kind is not known/],
      [
        '{"kind":"address","value":"203.0.113","since":"2026-06-01T00:00:00Z"}',
        /:2: the value is no IP address/,
      ],
      [
        '{"kind":"network","value":"203.0.113.1","since":"2026-06-01T00:00:00Z"}',
        /:2: the value is no network/,
      ],
      ['{"kind":"user","value":7,"since":"2026-06-01T00:00:00Z"}', /:2: the value is no user name/],
      ['{"kind":"user","value":"b"}', /:2: since is no point in time/],
      [
        '{"kind":"user","value":"b","since":"2026-06-01T00:00:00Z","until":"soon"}',
        /:2: until is no point in time/,
      ],
      ['{"kind":"user","value":"b","since":"2026-13-01T00:00:00Z"}', /:2: since is no point in time/],
      ['{"kind":"user","value":"b","since":"2026-06-01T00:00:00Z","reason":"a\\nb"}', /:2: the reason/],
      [
        `{"kind":"user","value":"b","since":"2026-06-01T00:00:00Z","reason":"${'x'.repeat(201)}"}`,
        /:2: the reason/,
      ],
      ['{"kind":"user","value":"b","since":"2026-06-01T00:00:00Z","__proto__":1}', /:2: the line has a key/],
      [good, /:2: this ban is there already/],
    ];
    for (const [line, problem] of cases)
      assert.throws(() => parseBanFile(`${good}\n${line}\n`, 'bans'), problem);
  });

  it('holds a bounded number of bans', async () => {
    const lines = (count: number) =>
      Array.from(
        { length: count },
        (_, n) => `{"kind":"user","value":"u${n}","since":"2026-06-01T00:00:00Z"}\n`,
      );
    writeFileSync(file, lines(BANS_MAX).join(''), { mode: 0o600 });
    assert.equal(readBanFile(file).bans.length, BANS_MAX);
    await assert.rejects(add(ban('user', 'one more')), /there are 10000 bans already/);
    assert.equal(await add(ban('user', 'u0', { reason: 'changed' })), true);
    assert.throws(
      () => parseBanFile(lines(BANS_MAX + 1).join(''), 'bans'),
      /bans:10001: there are more than 10000/,
    );
  });

  it('is refused when others may touch it, or when it is a symbolic link', async () => {
    await add(ban('user', 'mallory'));
    chmodSync(file, 0o606);
    assert.throws(() => readBanFile(file), /mode 0606 opens the file to others/);
    chmodSync(file, 0o600);
    const link = join(directory, 'link');
    symlinkSync(file, link);
    assert.throws(() => readBanFile(link), /a symbolic link/);
    await assert.rejects(editBanFile(link, { action: 'add', ban: ban('user', 'x') }, NOW), /a symbolic link/);
    assert.deepEqual(readdirSync(directory).toSorted(), ['bans.jsonl', 'link']);
  });

  it('is not written into a folder that is not there', async () => {
    file = join(directory, 'missing', 'bans.jsonl');
    await assert.rejects(add(ban('user', 'mallory')), /missing: there is no such directory/);
  });
});

/** Programs that some tests and the bench need beyond Node: which there are, and how Debian provides them. */
import { spawnSync } from 'node:child_process';
import { accessSync, chmodSync, constants, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';

interface Program {
  readonly debianPackage: string;
  /** What is skipped without it, as the end of a sentence. */
  readonly neededFor: string;
}

const PROGRAMS = {
  chromium: { debianPackage: 'chromium', neededFor: 'MQTT.js in a page' },
  mosquitto: { debianPackage: 'mosquitto', neededFor: 'the comparison in npm run bench' },
  mosquitto_pub: {
    debianPackage: 'mosquitto-clients',
    neededFor: 'the mosquitto_pub and mosquitto_sub tests',
  },
  mosquitto_sub: {
    debianPackage: 'mosquitto-clients',
    neededFor: 'the mosquitto_pub and mosquitto_sub tests',
  },
  openssl: { debianPackage: 'openssl', neededFor: 'tests that look at certificates from outside' },
  cc: { debianPackage: 'gcc libc6-dev', neededFor: 'the load generator of npm run bench' },
  go: {
    debianPackage: 'golang-go golang-github-lucas-clemente-quic-go-dev',
    neededFor: 'the QUIC client on quic-go',
  },
  python3: { debianPackage: 'python3', neededFor: 'npm run test:paho' },
  'fail2ban-regex': {
    debianPackage: 'fail2ban',
    neededFor: 'the test of contrib/fail2ban with fail2ban itself',
  },
} as const satisfies Record<string, Program>;

export type ProgramName = keyof typeof PROGRAMS;

/** Servers live in sbin directories that an ordinary user's PATH may lack. */
const EXTRA_DIRECTORIES = ['/usr/sbin', '/usr/local/sbin'];
const POLICY_FILE = '/usr/sbin/policy-rc.d';

/** The absolute path of a program, or null when it is not installed. */
export function pathOf(name: ProgramName): string | null {
  const directories = (process.env.PATH ?? '').split(path.delimiter).concat(EXTRA_DIRECTORIES);
  for (const directory of directories) {
    const candidate = path.join(directory, name);
    try {
      accessSync(candidate, constants.X_OK);
      return candidate;
    } catch {}
  }
  return null;
}

/** Why a test that needs `name` cannot run here. */
export function whyMissing(name: ProgramName): string {
  return `${name} is not installed (Debian: apt-get install ${PROGRAMS[name].debianPackage})`;
}

/**
 * Installs what is missing where this process is root on Debian; elsewhere prints what will be skipped.
 * Never fails: a test that still lacks its program skips itself and says so.
 */
export function installMissing(print: (line: string) => void): void {
  const missing = missingPrograms();
  if (missing.length === 0) return;
  if (isRootOnDebian()) {
    const packages = [...new Set(missing.flatMap((name) => PROGRAMS[name].debianPackage.split(' ')))];
    print(`installing ${packages.join(' ')}`);
    installPackages(packages, print);
  }
  for (const name of missingPrograms()) print(`skipping ${PROGRAMS[name].neededFor}: ${whyMissing(name)}`);
}

function missingPrograms(): ProgramName[] {
  return (Object.keys(PROGRAMS) as ProgramName[]).filter((name) => pathOf(name) === null);
}

function isRootOnDebian(): boolean {
  return process.getuid?.() === 0 && existsSync('/etc/debian_version') && existsSync('/usr/bin/apt-get');
}

function installPackages(packages: string[], print: (line: string) => void): void {
  const restorePolicy = forbidServiceStarts();
  try {
    if (!aptGet(['update'], print)) print('apt-get update failed; trying with the package lists there are');
    if (aptGet(['install', '-y', '--no-install-recommends', ...packages], print)) return;
    // One package that cannot be had must not cost the others.
    for (const name of packages) aptGet(['install', '-y', '--no-install-recommends', name], print);
  } finally {
    restorePolicy();
  }
}

/** Without this, installing mosquitto starts a server on port 1883. The answer of an existing policy file is left alone. */
function forbidServiceStarts(): () => void {
  if (existsSync(POLICY_FILE)) return () => {};
  const policy = '#!/bin/sh\nexit 101\n';
  writeFileSync(POLICY_FILE, policy);
  chmodSync(POLICY_FILE, 0o755);
  return () => {
    if (existsSync(POLICY_FILE) && readFileSync(POLICY_FILE, 'utf8') === policy) rmSync(POLICY_FILE);
  };
}

/** Quiet unless it fails; then its last lines. */
function aptGet(args: string[], print: (line: string) => void): boolean {
  const result = spawnSync('/usr/bin/apt-get', ['-q', '-o', 'DPkg::Lock::Timeout=120', ...args], {
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    stdio: ['ignore', 'pipe', 'pipe'],
    encoding: 'utf8',
    timeout: 240_000,
  });
  if (result.status === 0) return true;
  const lines = `${result.stdout ?? ''}${result.stderr ?? ''}`.trim().split('\n');
  for (const line of lines.slice(-5)) print(`apt-get: ${line}`);
  return false;
}

/**
 * `npm run audit`: asks the registry for published faults of what Sluice ships with. Ends with 1 when there is one, and with 0, after
 * saying so, when the registry does not answer such questions, as many mirrors do not.
 */
import { spawnSync } from 'node:child_process';
import path from 'node:path';

const ROOT = path.join(import.meta.dirname, '..', '..');

/** What `npm audit --json` prints, as far as it is read: a report, or why there is none. */
interface Audit {
  readonly vulnerabilities?: Readonly<Record<string, { readonly severity: string; readonly range: string }>>;
  readonly message?: string;
}

function main(): number {
  const { stdout } = spawnSync('npm', ['audit', '--json', '--omit=dev'], { cwd: ROOT, encoding: 'utf8' });
  let audit: Audit;
  try {
    audit = JSON.parse(stdout) as Audit;
  } catch {
    process.stderr.write(`npm audit printed no report: ${stdout.slice(0, 200)}\n`);
    return 1;
  }
  if (audit.vulnerabilities === undefined) {
    process.stderr.write(`not audited, the registry has no answer: ${audit.message ?? 'no reason given'}\n`);
    return 0;
  }
  const found = Object.entries(audit.vulnerabilities);
  for (const [name, { severity, range }] of found)
    process.stderr.write(`${name} ${range}: a published fault, ${severity}; see npm audit\n`);
  if (found.length === 0) process.stdout.write('no published faults in what Sluice ships with\n');
  return found.length === 0 ? 0 : 1;
}

process.exitCode = main();

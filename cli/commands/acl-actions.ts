/** What `sluice acl` does. */
import { OpenAuthorizer } from '../../auth/acl/acl-authorizer.ts';
import { type AclReport, checkAcl } from '../../auth/acl/acl-check.ts';
import { type Explanation, explain } from '../../auth/acl/acl-explain.ts';
import { readAclFile, readAclText } from '../../auth/acl/acl-file.ts';
import { problemsOf } from '../../auth/files/bad-lines.ts';
import { readPasswordFile } from '../../auth/passwords/password-file.ts';
import { doorAuth } from '../../config/auth.ts';
import { loadConfig } from '../../config/load.ts';
import { ConfigErrors, printable } from '../../config/problems.ts';
import type { Config } from '../../config/types.ts';
import { ConfigError } from '../../src/errors.ts';
import type { Action, Identity } from '../../src/interfaces/auth.ts';
import { DEFAULT_LIMITS, type Limits } from '../../src/limits.ts';
import { isValidTopicFilter, isValidTopicName, parseShared } from '../../src/topics/names.ts';
import type { AclIo, CheckFlags, ExplainFlags } from './acl.ts';
import {
  checkJson,
  describeExplanation,
  describeFaultyLines,
  describeReport,
  explanationJson,
  faultyLinesJson,
} from './acl-text.ts';

/** Exit codes: allowed, or nothing found; denied, or something found; it could not be done. */
export const ACL_EXIT = Object.freeze({ yes: 0, no: 1, failed: 2 });

/** A question, and what answers it. */
export interface Asked {
  readonly identity: Identity;
  readonly action: Action;
  /** As given, `$share/GROUP/` included. */
  readonly topic: string;
  /** Null: there is none. */
  readonly file: string | null;
  /** A setting by which the broker refuses, whatever the rules say; null: none. */
  readonly refusedBy: string | null;
  readonly why: Explanation;
}

/**
 * Explains one answer.
 * @returns the exit code, one of ACL_EXIT
 */
export function explainCommand(action: Action, topic: string, flags: ExplainFlags, io: AclIo): number {
  return orFailed(io, () => {
    const asked = ask(action, topic, flags);
    const all = flags.all === true;
    io.stdout.write(flags.json === true ? explanationJson(asked, all) : describeExplanation(asked, all));
    return asked.why.allowed && asked.refusedBy === null ? ACL_EXIT.yes : ACL_EXIT.no;
  });
}

/**
 * Looks a file over.
 * @returns the exit code, one of ACL_EXIT
 */
export function checkCommand(file: string, flags: CheckFlags, io: AclIo): number {
  return orFailed(io, () => {
    const users = flags.users === undefined ? null : readPasswordFile(flags.users);
    const report = reportOn(file, users);
    const json = flags.json === true;
    if (report instanceof ConfigError) {
      io.stdout.write(json ? faultyLinesJson(file, report) : describeFaultyLines(report));
      return ACL_EXIT.no;
    }
    io.stdout.write(json ? checkJson(file, report) : describeReport(file, report));
    const found = report.faults + (flags.strict === true ? report.notes : 0);
    return found === 0 ? ACL_EXIT.yes : ACL_EXIT.no;
  });
}

/** The remarks, or the error that names the lines that cannot be used. */
function reportOn(file: string, users: ReadonlyMap<string, unknown> | null): AclReport | ConfigError {
  try {
    return checkAcl(readAclText(file), users);
  } catch (error) {
    // An error of the file itself, one that is missing for instance, names no line.
    if (!(error instanceof ConfigError) || problemsOf(error)[0].where === file) throw error;
    return error;
  }
}

function orFailed(io: AclIo, run: () => number): number {
  try {
    return run();
  } catch (error) {
    if (!(error instanceof ConfigErrors || error instanceof ConfigError)) throw error;
    const problems = error instanceof ConfigErrors ? error.problems : problemsOf(error);
    for (const { message } of problems) io.stderr.write(`sluice acl: ${printable(message)}\n`);
    return ACL_EXIT.failed;
  }
}

function ask(action: Action, topic: string, flags: ExplainFlags): Asked {
  const { file, limits } = rulesFor(flags);
  const identity = { username: flags.user ?? null, clientId: flags.client };
  const inner = checkTopic(action, topic, limits);
  const refusedBy = action === 'subscribe' ? refusal(topic, inner, limits) : null;
  const why =
    file === null
      ? withoutRules(identity, action, inner)
      : explain(readAclFile(file), identity, action, inner);
  return { identity, action, topic, file, refusedBy, why };
}

function withoutRules(identity: Identity, action: Action, topic: string): Explanation {
  const { allow } = new OpenAuthorizer().decide(identity, action, topic);
  return { allowed: allow, by: allow ? 'none' : 'built-in', rule: null, before: [], parts: [] };
}

/** The file that the broker would read, and the limits that hold before it is asked. */
function rulesFor(flags: ExplainFlags): { file: string | null; limits: Limits } {
  if (flags.file !== undefined && flags.config === undefined && flags.listener === undefined)
    return { file: flags.file, limits: DEFAULT_LIMITS };
  if (flags.config === undefined || flags.file !== undefined) {
    throw new ConfigError('--file', 'one file of rules is needed', 'Give --file FILE, or -c CONFIG.');
  }
  const config = loadConfig({ file: flags.config, env: process.env, flags: {} });
  return { file: aclFileOf(config, flags.listener), limits: config.limits };
}

function aclFileOf({ auth, listeners }: Config, url: string | undefined): string | null {
  if (url === undefined) return auth.aclFile;
  const listener = listeners.find((each) => each.url === url);
  if (listener !== undefined) return doorAuth(auth, listener.auth).aclFile;
  const known = listeners.map((each) => each.url).join(', ');
  throw new ConfigError('--listener', `there is no listener "${url}"`, `Name one of ${known}.`);
}

/**
 * What the rules are asked about: the topic, without `$share/GROUP/`.
 * @throws ConfigError when the broker would refuse it as malformed, without asking them
 */
function checkTopic(
  action: Action,
  topic: string,
  { topicBytesMax, topicLevelsMax }: Pick<Limits, 'topicBytesMax' | 'topicLevelsMax'>,
): string {
  const shared = action === 'subscribe' ? parseShared(topic) : null;
  const inner = shared === null || shared === 'invalid' ? topic : shared.filter;
  const isValid = action === 'subscribe' ? isValidTopicFilter : isValidTopicName;
  if (shared !== 'invalid' && isValid(inner, topicLevelsMax) && Buffer.byteLength(topic) <= topicBytesMax)
    return inner;
  throw new ConfigError(
    'topic',
    `${JSON.stringify(topic)} is no topic ${action === 'subscribe' ? 'filter' : 'name'}, and refused before any rule is asked`,
    action === 'subscribe'
      ? `A + stands for a whole level and # only at the end; at most ${topicLevelsMax} levels and ${topicBytesMax} bytes.`
      : `It has no + or # and is not empty; at most ${topicLevelsMax} levels and ${topicBytesMax} bytes.`,
  );
}

function refusal(
  topic: string,
  inner: string,
  limits: Pick<Limits, 'sharedSubscriptionAvailable' | 'wildcardSubscriptionAvailable'>,
): string | null {
  if (!limits.sharedSubscriptionAvailable && inner !== topic)
    return 'limits.sharedSubscriptionAvailable is false';
  const hasWildcard = inner.includes('+') || inner.includes('#');
  return !limits.wildcardSubscriptionAvailable && hasWildcard
    ? 'limits.wildcardSubscriptionAvailable is false'
    : null;
}

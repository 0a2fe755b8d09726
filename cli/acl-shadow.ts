/** Tries an ACL file out beside the one that decides, and logs where they differ. */
import { AclAuthorizer, type RuleAuthorizer } from '../auth/acl/acl-authorizer.ts';
import { readAclFile } from '../auth/acl/acl-file.ts';
import type { AclRule } from '../auth/acl/acl-rules.ts';
import { type Difference, ShadowAuthorizer } from '../auth/acl/acl-shadow.ts';
import type { Authorizer } from '../src/interfaces/auth.ts';
import type { Log } from '../src/interfaces/log.ts';
import type { WatchedFiles } from './watched-files.ts';

export interface ShadowFiles {
  /** What decides; null: no file does. */
  readonly aclFile: string | null;
  readonly aclShadowFile: string;
}

/**
 * Decides as `live` does. The shadow file is read now and again when it changes; each difference is logged as `acl.shadow`.
 * @throws ConfigError when the shadow file cannot be used
 */
export function openShadow(
  live: RuleAuthorizer,
  { aclFile, aclShadowFile }: ShadowFiles,
  files: WatchedFiles,
  log: Log,
): Authorizer {
  const use = { name: 'acl_shadow', path: aclShadowFile, read: readAclFile };
  const rules = files.open(use, (changed) => shadow.replaceRules(changed));
  const shadow = new AclAuthorizer(rules);
  return new ShadowAuthorizer(live, shadow, ({ identity, action, topic, ...answers }: Difference) => {
    log.info('acl.shadow', {
      clientId: identity.clientId,
      username: identity.username,
      action,
      topic,
      allowed: answers.allowed,
      by: place(answers.by, aclFile ?? ''),
      shadowAllows: !answers.allowed,
      shadowBy: place(answers.shadowBy, aclShadowFile),
    });
  });
}

function place(rule: AclRule | null, path: string): string {
  if (rule === null) return `no rule of ${path}`;
  return rule.line === 0 ? rule.text : `${path}:${rule.line} ${rule.text}`;
}

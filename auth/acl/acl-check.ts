/** Looks over an ACL file for what the broker would not complain about. */
import type { AclText } from './acl-file.ts';
import { remarkOnNames } from './acl-names.ts';
import { remarkOnOrder } from './acl-order.ts';
import { type Remark, Remarks } from './acl-remarks.ts';
import { Subjects } from './acl-subjects.ts';

export interface AclReport {
  /** The first 1000 faults and the first 1000 notes, by line. */
  readonly remarks: readonly Remark[];
  readonly faults: number;
  readonly notes: number;
}

/**
 * Everything there is to say of a file that can be read.
 * @param users those of the password file; null: users and groups are not looked up
 */
export function checkAcl(
  text: AclText,
  users: { has(name: string): boolean; keys(): Iterable<string> } | null,
): AclReport {
  const remarks = new Remarks();
  const subjects = new Subjects(text);
  remarkOnOrder(text, subjects, remarks);
  remarkOnNames(text, subjects, users, remarks);
  return { remarks: remarks.kept, faults: remarks.faults, notes: remarks.notes };
}

/** What two topic filters select together: again a topic filter, or nothing. */

/**
 * The filter that selects exactly the topics both `a` and `b` select, or null when there are none.
 * Both must be valid and without `$share/group/`. A wildcard at the first level selects no topic that begins
 * with `$` [MQTT-4.7.2-1]; a final `/#` also selects its parent (section 4.7.1.2).
 */
export function intersectFilters(a: string, b: string): string | null {
  const left = a.split('/');
  const right = b.split('/');
  if (isWild(left[0]) && right[0].startsWith('$')) return null;
  if (isWild(right[0]) && left[0].startsWith('$')) return null;
  const common: string[] = [];
  for (let level = 0; level < left.length || level < right.length; level++) {
    const [l, r] = [left[level], right[level]];
    if (l === '#') return common.concat(right.slice(level)).join('/');
    if (r === '#') return common.concat(left.slice(level)).join('/');
    if (l === undefined || r === undefined) return null;
    if (l !== '+' && r !== '+' && l !== r) return null;
    common.push(l === '+' ? r : l);
  }
  return common.join('/');
}

function isWild(level: string): boolean {
  return level === '+' || level === '#';
}

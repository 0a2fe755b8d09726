/**
 * Topic names and filters as strings (MQTT 5.0 section 4.7): what is well formed, what matches, what overlaps.
 * Every function walks its strings once, without recursion or regular expressions.
 */

const SLASH = 0x2f;
const PLUS = 0x2b;
const HASH = 0x23;
const DOLLAR = 0x24;
const SHARE = '$share';

/** A shared subscription's parts: `$share/{group}/{filter}` (section 4.8.2). */
export interface SharedFilter {
  readonly group: string;
  readonly filter: string;
}

/**
 * Whether `topic` may be published to: not empty [MQTT-4.7.3-1], no U+0000 [MQTT-4.7.3-2], no wildcards [MQTT-4.7.0-1],
 * no lone surrogate (it has no UTF-8 form), at most `levelsMax` levels.
 */
export function isValidTopicName(topic: string, levelsMax: number): boolean {
  if (topic.length === 0) return false;
  let levels = 1;
  for (let at = 0; at < topic.length; at++) {
    const code = topic.charCodeAt(at);
    if (code === SLASH) levels++;
    else if (code === PLUS || code === HASH || code === 0) return false;
  }
  return levels <= levelsMax && topic.isWellFormed();
}

/**
 * Whether `filter` may be subscribed to: as a topic name, but `+` may be a whole level [MQTT-4.7.1-2] and `#` the whole
 * last one [MQTT-4.7.1-1]. `$share/…` is not looked into: see `parseShared`, then check what it returns.
 */
export function isValidTopicFilter(filter: string, levelsMax: number): boolean {
  const end = filter.length;
  if (end === 0) return false;
  let levels = 1;
  for (let at = 0; at < end; at++) {
    const code = filter.charCodeAt(at);
    if (code === SLASH) levels++;
    else if (code === 0) return false;
    else if (code === PLUS || code === HASH) {
      if (at > 0 && filter.charCodeAt(at - 1) !== SLASH) return false;
      if (at + 1 < end && (code === HASH || filter.charCodeAt(at + 1) !== SLASH)) return false;
    }
  }
  return levels <= levelsMax && filter.isWellFormed();
}

/**
 * The parts of a shared subscription; null for an ordinary filter; 'invalid' when the group is missing, empty or holds a
 * wildcard, or no filter follows it [MQTT-4.8.2-1] [MQTT-4.8.2-2]. The inner filter itself is not checked.
 */
export function parseShared(filter: string): SharedFilter | null | 'invalid' {
  if (!filter.startsWith(SHARE)) return null;
  if (filter.length === SHARE.length) return 'invalid';
  if (filter.charCodeAt(SHARE.length) !== SLASH) return null;
  const start = SHARE.length + 1;
  const end = filter.indexOf('/', start);
  if (end <= start || end === filter.length - 1) return 'invalid';
  const group = filter.slice(start, end);
  if (group.includes('+') || group.includes('#')) return 'invalid';
  return { group, filter: filter.slice(end + 1) };
}

/** Whether a valid filter matches a valid topic name; `$` topics match no wildcard at the first level [MQTT-4.7.2-1]. */
export function topicMatches(filter: string, topic: string): boolean {
  if (topic.charCodeAt(0) === DOLLAR && isWildcard(filter.charCodeAt(0))) return false;
  let f = 0;
  let t = 0;
  for (;;) {
    const code = filter.charCodeAt(f);
    if (code === HASH) return true;
    const topicEnd = levelEnd(topic, t);
    const filterEnd = code === PLUS ? f + 1 : levelEnd(filter, f);
    if (code !== PLUS && !sameLevel(filter, f, filterEnd, topic, t, topicEnd)) return false;
    if (topicEnd === topic.length) return filterEnd === filter.length || isHashTail(filter, filterEnd);
    if (filterEnd === filter.length) return false;
    f = filterEnd + 1;
    t = topicEnd + 1;
  }
}

/** Whether some topic name is matched by both of two valid filters. */
export function filtersOverlap(a: string, b: string): boolean {
  const firstA = a.charCodeAt(0);
  const firstB = b.charCodeAt(0);
  if (firstA === DOLLAR && isWildcard(firstB)) return false;
  if (firstB === DOLLAR && isWildcard(firstA)) return false;
  let i = 0;
  let j = 0;
  for (;;) {
    const codeA = a.charCodeAt(i);
    const codeB = b.charCodeAt(j);
    if (codeA === HASH || codeB === HASH) return true;
    const endA = codeA === PLUS ? i + 1 : levelEnd(a, i);
    const endB = codeB === PLUS ? j + 1 : levelEnd(b, j);
    if (codeA !== PLUS && codeB !== PLUS && !sameLevel(a, i, endA, b, j, endB)) return false;
    if (endA === a.length) return endB === b.length || isHashTail(b, endB);
    if (endB === b.length) return isHashTail(a, endA);
    i = endA + 1;
    j = endB + 1;
  }
}

/** Whether every topic name that the valid filter `narrow` matches is matched by the valid filter `wide` too. */
export function filterCovers(wide: string, narrow: string): boolean {
  if (narrow.charCodeAt(0) === DOLLAR && isWildcard(wide.charCodeAt(0))) return false;
  // A topic is never empty, so these two select nothing by the parent rule that their longer forms do not.
  const inner = narrow === '#' ? '+/#' : narrow === '/#' ? '/+/#' : narrow;
  let w = 0;
  let n = 0;
  for (;;) {
    const codeW = wide.charCodeAt(w);
    const codeN = inner.charCodeAt(n);
    if (codeW === HASH) return true;
    if (codeN === HASH) return false;
    const endW = codeW === PLUS ? w + 1 : levelEnd(wide, w);
    const endN = codeN === PLUS ? n + 1 : levelEnd(inner, n);
    if (codeW !== PLUS && (codeN === PLUS || !sameLevel(wide, w, endW, inner, n, endN))) return false;
    if (endN === inner.length) return endW === wide.length || isHashTail(wide, endW);
    if (endW === wide.length) return false;
    w = endW + 1;
    n = endN + 1;
  }
}

function isWildcard(code: number): boolean {
  return code === PLUS || code === HASH;
}

function levelEnd(text: string, start: number): number {
  const end = text.indexOf('/', start);
  return end === -1 ? text.length : end;
}

/** Whether the rest of `filter` from `at` is `/#`, which also selects the parent (section 4.7.1.2), unless that is empty. */
function isHashTail(filter: string, at: number): boolean {
  return at > 0 && at === filter.length - 2 && filter.charCodeAt(at + 1) === HASH;
}

function sameLevel(
  a: string,
  startA: number,
  endA: number,
  b: string,
  startB: number,
  endB: number,
): boolean {
  if (endA - startA !== endB - startB) return false;
  for (let i = startA, j = startB; i < endA; i++, j++) {
    if (a.charCodeAt(i) !== b.charCodeAt(j)) return false;
  }
  return true;
}

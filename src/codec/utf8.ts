/** UTF-8 as MQTT wants it (MQTT 5.0 section 1.5.4). */

/**
 * Whether `buffer[start, end)` is well-formed UTF-8 without surrogates [MQTT-1.5.4-1], overlong forms, code points past
 * U+10FFFF, or U+0000 [MQTT-1.5.4-2]. `node:buffer`'s isUtf8 lets U+0000 pass and costs a view for every short topic.
 */
export function isValidUtf8(buffer: Uint8Array, start: number, end: number): boolean {
  let at = start;
  while (at < end) {
    const first = buffer[at]!;
    if (first < 0x80) {
      if (first === 0) return false;
      at++;
      continue;
    }
    const length = sequenceLength(buffer, at, end, first);
    if (length === 0) return false;
    at += length;
  }
  return true;
}

/** Bytes of the multi-byte sequence at `at`, or 0 when it is not well formed (Unicode 15, table 3-7). */
function sequenceLength(buffer: Uint8Array, at: number, end: number, first: number): number {
  if (first < 0xc2 || first > 0xf4) return 0;
  const length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  if (end - at < length) return 0;
  const second = buffer[at + 1]!;
  let low = 0x80;
  let high = 0xbf;
  if (first === 0xe0) low = 0xa0;
  else if (first === 0xed) high = 0x9f;
  else if (first === 0xf0) low = 0x90;
  else if (first === 0xf4) high = 0x8f;
  if (second < low || second > high) return 0;
  if (length > 2 && (buffer[at + 2]! & 0xc0) !== 0x80) return 0;
  if (length > 3 && (buffer[at + 3]! & 0xc0) !== 0x80) return 0;
  return length;
}

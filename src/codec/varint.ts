/** Variable Byte Integers (MQTT 5.0 section 1.5.5): seven bits a byte, least significant first. */

/** The largest value four bytes can carry. */
export const VARIABLE_BYTE_INTEGER_MAX = 268_435_455;

/** Bytes that `value` takes, 1 to 4. Throws RangeError outside 0 to 268 435 455. */
export function variableByteIntegerLength(value: number): number {
  if (value < 0 || value > VARIABLE_BYTE_INTEGER_MAX) {
    throw new RangeError(`Variable Byte Integer ${value} is outside 0 to ${VARIABLE_BYTE_INTEGER_MAX}`);
  }
  if (value < 128) return 1;
  if (value < 16_384) return 2;
  return value < 2_097_152 ? 3 : 4;
}

/** Writes `value` (0 to 268 435 455) in the fewest bytes [MQTT-1.5.5-1] and returns the offset after it. */
export function writeVariableByteInteger(buffer: Uint8Array, offset: number, value: number): number {
  let at = offset;
  let rest = value;
  while (rest > 127) {
    buffer[at++] = (rest & 127) | 128;
    rest >>>= 7;
  }
  buffer[at++] = rest;
  return at;
}

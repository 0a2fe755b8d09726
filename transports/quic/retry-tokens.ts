/**
 * Address validation by Retry (RFC 9000, section 8.1.2): a client gets a token sent to the address it claims, and is heard of by the doorkeeper
 * only when it shows it. Nothing is kept meanwhile.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';

const KEY_BYTES = 32;
const MAC_BYTES = 16;
const TIME_BYTES = 6;
/** One round trip, and the retransmissions of a bad network. */
const LIFETIME_MS = 15_000;

/** Makes and checks the tokens of one listener. */
export class RetryTokens {
  readonly #key: Buffer;
  readonly #now: () => number;

  /** @param now milliseconds, ever growing */
  constructor(now: () => number = () => performance.now()) {
    this.#key = randomBytes(KEY_BYTES);
    this.#now = now;
  }

  /**
   * @param client address and port
   * @param dcid the connection id the client chose first
   * @param scid the one it is told to use from now on
   */
  make(client: string, dcid: Uint8Array, scid: Uint8Array): Buffer {
    const head = Buffer.allocUnsafe(TIME_BYTES);
    head.writeUIntBE(Math.floor(this.#now()), 0, TIME_BYTES);
    return Buffer.concat([head, this.#mac(client, head, dcid, scid), dcid]);
  }

  /** The id the client chose first; null: the token is not ours, not his, or old. */
  check(client: string, token: Buffer, scid: Uint8Array): Buffer | null {
    if (token.length < TIME_BYTES + MAC_BYTES) return null;
    const head = token.subarray(0, TIME_BYTES);
    const dcid = token.subarray(TIME_BYTES + MAC_BYTES);
    const mac = token.subarray(TIME_BYTES, TIME_BYTES + MAC_BYTES);
    if (!timingSafeEqual(mac, this.#mac(client, head, dcid, scid))) return null;
    return this.#now() - head.readUIntBE(0, TIME_BYTES) <= LIFETIME_MS ? dcid : null;
  }

  #mac(client: string, head: Uint8Array, dcid: Uint8Array, scid: Uint8Array): Buffer {
    const hmac = createHmac('sha256', this.#key).update(head);
    // The lengths tell the parts apart.
    hmac.update(Uint8Array.of(dcid.length, scid.length)).update(dcid).update(scid).update(client);
    return hmac.digest().subarray(0, MAC_BYTES);
  }
}

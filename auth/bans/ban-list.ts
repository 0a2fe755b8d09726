/** Who is banned, until when and why: one set of bans, looked up by address, user and client id. */
import { addressBytes, maskBytes, normalAddress, parseNetwork } from '../networks.ts';

export type BanKind = 'address' | 'network' | 'user' | 'client';

export const BAN_KINDS: readonly BanKind[] = ['address', 'network', 'user', 'client'];

/** `client` is a client id. */
export interface Ban {
  readonly kind: BanKind;
  /** An address or network in its one spelling; a user name or client id as it is, byte for byte. */
  readonly value: string;
  /** Wall-clock milliseconds at which it was made. */
  readonly sinceMs: number;
  /** Wall-clock milliseconds at which it is over; null: never. */
  readonly untilMs: number | null;
  /** For the operator; the client is told nothing of it. May be empty. */
  readonly reason: string;
}

/** Whom a connection belongs to, as far as bans ask. */
export interface BanSubject {
  readonly address: string;
  readonly username: string | null;
  readonly clientId: string;
}

/** Bans of networks that have the same number of bits, by their masked bytes. */
interface Prefixes {
  readonly bytes: number;
  readonly bits: number;
  readonly byKey: Map<string, Ban>;
}

/** Whether a ban is still in force. */
export function isInForce(ban: Ban, wallNowMs: number): boolean {
  return ban.untilMs === null || wallNowMs < ban.untilMs;
}

/** The value in the one spelling that its kind has; null when it is none. */
export function normalValue(kind: BanKind, value: string): string | null {
  switch (kind) {
    case 'address':
      return normalAddress(value);
    case 'network':
      return parseNetwork(value)?.text ?? null;
    case 'user':
    case 'client':
      return value.isWellFormed() && Buffer.byteLength(value) <= 65_535 ? value : null;
  }
}

/** Never changes. A look-up costs one step for each length of network that is banned, however many bans there are. */
export class BanList {
  readonly bans: readonly Ban[];
  readonly #addresses = new Map<string, Ban>();
  readonly #users = new Map<string, Ban>();
  readonly #clientIds = new Map<string, Ban>();
  readonly #prefixes: Prefixes[] = [];

  /** @param bans no two of the same kind and value */
  constructor(bans: readonly Ban[] = []) {
    this.bans = bans;
    for (const ban of bans) {
      if (ban.kind === 'address') this.#addresses.set(keyOf(addressBytes(ban.value) ?? []), ban);
      else if (ban.kind === 'user') this.#users.set(ban.value, ban);
      else if (ban.kind === 'client') this.#clientIds.set(ban.value, ban);
      else this.#addNetwork(ban);
    }
  }

  /** The ban that an address falls under, or null. Text that is no IP address (a socket path) falls under none. */
  ofAddress(address: string, wallNowMs: number): Ban | null {
    if (this.#addresses.size === 0 && this.#prefixes.length === 0) return null;
    const bytes = addressBytes(address);
    if (bytes === null) return null;
    const exact = inForce(this.#addresses.get(keyOf(bytes)), wallNowMs);
    if (exact !== null) return exact;
    for (const { bytes: length, bits, byKey } of this.#prefixes) {
      if (length !== bytes.length) continue;
      const found = inForce(byKey.get(keyOf(maskBytes(bytes, bits))), wallNowMs);
      if (found !== null) return found;
    }
    return null;
  }

  ofUser(username: string | null, wallNowMs: number): Ban | null {
    return username === null ? null : inForce(this.#users.get(username), wallNowMs);
  }

  ofClientId(clientId: string, wallNowMs: number): Ban | null {
    return inForce(this.#clientIds.get(clientId), wallNowMs);
  }

  /** The first ban that anything of it falls under. */
  of({ address, username, clientId }: BanSubject, wallNowMs: number): Ban | null {
    return (
      this.ofUser(username, wallNowMs) ??
      this.ofClientId(clientId, wallNowMs) ??
      this.ofAddress(address, wallNowMs)
    );
  }

  #addNetwork(ban: Ban): void {
    const network = parseNetwork(ban.value);
    if (network === null) return;
    const { bytes, bits } = network;
    let prefixes = this.#prefixes.find((each) => each.bits === bits && each.bytes === bytes.length);
    if (prefixes === undefined) {
      prefixes = { bytes: bytes.length, bits, byKey: new Map() };
      this.#prefixes.push(prefixes);
    }
    prefixes.byKey.set(keyOf(bytes), ban);
  }
}

function inForce(ban: Ban | undefined, wallNowMs: number): Ban | null {
  return ban !== undefined && isInForce(ban, wallNowMs) ? ban : null;
}

function keyOf(bytes: readonly number[]): string {
  return bytes.join('.');
}

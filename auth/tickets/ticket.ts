/**
 * Tickets: credentials for web pages. Short-lived, for pages of one origin, for some topics; so that a dashboard never holds
 * the password of a device or a user. A ticket is a signed token of a type of its own (RFC 8725 section 3.11): no other login
 * takes it, and this one takes no other.
 */
import type { JWTPayload } from 'jose';
import { SignJWT } from 'jose/jwt/sign';
import { jwtVerify } from 'jose/jwt/verify';
import { ConfigError } from '../../src/errors.ts';
import { GRANT_FILTERS_MAX, problemWithGrant } from '../grants.ts';
import { isUserName, TOKEN_BYTES_MAX } from '../jwt/jwt-token.ts';
import type { TicketKey, TicketKeys } from './ticket-key.ts';

export { makeTicketKeyFile, readTicketKeys, type TicketKey, type TicketKeys } from './ticket-key.ts';

/** The header's `typ`. */
export const TICKET_TYPE = 'sluice-ticket+jwt';
/** One day: what lives longer is a password. */
export const TICKET_SECONDS_MAX = 86_400;

const ALGORITHM = 'HS256';
const CLIENT_ID_BYTES_MAX = 1_024;

export interface MintOptions {
  /** From `readTicketKeys`. */
  readonly keys: TicketKeys;
  /** The user it logs in as. */
  readonly user: string;
  /** Origin of the page, as browsers send it: `https://dash.example.org`. */
  readonly origin: string;
  /** Topic filters; `%u` and `%c` as whole levels stand for user name and client id. At least one, here or in `subscribe`. */
  readonly publish?: readonly string[];
  readonly subscribe?: readonly string[];
  /** The only client id it is good for; without it: any. */
  readonly clientId?: string;
  /** How long it can be used, and until when a connection with it lasts: 1 to 86 400. */
  readonly seconds: number;
  /** Milliseconds since 1970; default: now. */
  readonly nowMs?: number;
}

/** A ticket whose signature, type and times were verified. */
export interface Ticket {
  readonly user: string;
  readonly origin: string;
  /** Null: any. */
  readonly clientId: string | null;
  /** Topic filters, as they stand in it. */
  readonly publish: unknown;
  readonly subscribe: unknown;
  /** Seconds since 1970. */
  readonly issuedAt: number;
  readonly endsAt: number;
  /** Of the key that signed it. */
  readonly keyId: string;
}

/**
 * Makes a ticket: the password of a CONNECT with the same user name, or with none (MQTT 5).
 * @throws ConfigError naming the part that cannot be right
 */
export async function mintTicket(options: MintOptions): Promise<string> {
  const { keys, user, origin, clientId, publish = [], subscribe = [], seconds } = options;
  check(options);
  const [key] = keys;
  const issuedAt = Math.floor((options.nowMs ?? Date.now()) / 1_000);
  const scope = { origin, acl: { pub: publish, sub: subscribe } };
  const ticket = await new SignJWT(clientId === undefined ? scope : { ...scope, cid: clientId })
    .setProtectedHeader({ alg: ALGORITHM, typ: TICKET_TYPE, kid: key.id })
    .setSubject(user)
    .setIssuedAt(issuedAt)
    .setExpirationTime(issuedAt + seconds)
    .sign(key.secret);
  if (ticket.length <= TOKEN_BYTES_MAX) return ticket;
  throw new ConfigError(
    'ticket',
    `it has ${ticket.length} bytes`,
    `Name fewer topics: ${TOKEN_BYTES_MAX} fit.`,
  );
}

/**
 * Verifies signature, type and times, and reads the rest. Origin, user name and client id are for the caller to compare.
 * @param nowMs milliseconds since 1970
 * @throws an error of jose
 */
export async function verifyTicket(text: string, keys: TicketKeys, nowMs: number): Promise<Ticket> {
  const keyOf = (kid: string | undefined): TicketKey => keys.find(({ id }) => id === kid) ?? keys[0];
  const { payload, protectedHeader } = await jwtVerify(text, ({ kid }) => keyOf(kid).secret, {
    algorithms: [ALGORITHM],
    typ: TICKET_TYPE,
    currentDate: new Date(nowMs),
    requiredClaims: ['sub', 'iat', 'exp', 'origin', 'acl'],
  });
  return { ...readClaims(payload), keyId: keyOf(protectedHeader.kid).id };
}

/** What `mintTicket` wrote: the signature says that it did. */
function readClaims({ sub, iat, exp, origin, cid, acl }: JWTPayload): Omit<Ticket, 'keyId'> {
  const { pub: publish = [], sub: subscribe = [] } = acl as { pub?: unknown; sub?: unknown };
  return {
    user: sub!,
    origin: origin as string,
    clientId: (cid as string | undefined) ?? null,
    publish,
    subscribe,
    issuedAt: iat!,
    endsAt: exp!,
  };
}

function check(options: MintOptions): void {
  const { user, origin, clientId, publish = [], subscribe = [], seconds } = options;
  if (!isUserName(user))
    throw new ConfigError('user', 'this is no user name', 'Give printable text of at most 1024 bytes.');
  if (!URL.canParse(origin) || new URL(origin).origin !== origin || origin === 'null') {
    const remedy = 'Give scheme and host as browsers send them, like https://dash.example.org';
    throw new ConfigError('origin', `${JSON.stringify(origin)} is no origin`, remedy);
  }
  const hasClientId = clientId !== undefined;
  if (hasClientId && (clientId === '' || Buffer.byteLength(clientId) > CLIENT_ID_BYTES_MAX))
    throw new ConfigError('client', 'it is empty or too long', `Give 1 to ${CLIENT_ID_BYTES_MAX} bytes.`);
  if (!Number.isInteger(seconds) || seconds < 1 || seconds > TICKET_SECONDS_MAX) {
    const remedy = `Give a whole number from 1 to ${TICKET_SECONDS_MAX}.`;
    throw new ConfigError('seconds', `${seconds} does not fit`, remedy);
  }
  checkFilters('publish', publish);
  checkFilters('subscribe', subscribe);
  if (publish.length + subscribe.length === 0)
    throw new ConfigError('ticket', 'it would allow nothing', 'Name topics to publish or subscribe to.');
}

function checkFilters(name: string, filters: readonly string[]): void {
  if (filters.length > GRANT_FILTERS_MAX)
    throw new ConfigError(name, `there are ${filters.length} filters`, `Give at most ${GRANT_FILTERS_MAX}.`);
  for (const filter of filters) {
    const problem = problemWithGrant(filter);
    if (problem !== null)
      throw new ConfigError(
        name,
        `${JSON.stringify(filter)} ${problem}`,
        'Give topic filters like plant/+/state.',
      );
  }
}

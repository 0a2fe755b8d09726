/** Lets web pages in by a ticket in the password field. */
import * as errors from 'jose/errors';
import type { Attempt, Authenticator, Verdict } from '../../src/interfaces/auth.ts';
import type { Clock } from '../../src/interfaces/clock.ts';
import { GrantsError, grantsFrom } from '../grants.ts';
import { readToken } from '../jwt/jwt-token.ts';
import { RevocableCredentials } from '../revocable.ts';
import { TICKET_TYPE, type Ticket, verifyTicket } from './ticket.ts';
import type { TicketKeys } from './ticket-key.ts';

export interface TicketOptions {
  readonly keys: TicketKeys;
  readonly clock: Pick<Clock, 'now' | 'wallNow'>;
  /** Longest life of a ticket that is taken, whatever it says. */
  readonly secondsMax: number;
  /** Why a ticket was refused, for the log: words of this program, none of the ticket's. */
  readonly onRefused?: (problem: string, attempt: Attempt) => void;
}

const UNKNOWN: Verdict = Object.freeze({ ok: false, reason: 'unknown-user' });
const REFUSED: Verdict = Object.freeze({ ok: false, reason: 'bad-credentials' });

/**
 * A password that is no ticket is left to others (`unknown-user`); one that is decides. It is good for pages of its origin, so
 * only behind a WebSocket; the connection ends when it does. The cost of one is an HMAC over a bounded text, whoever sends it.
 */
export class TicketAuthenticator implements Authenticator {
  readonly #options: TicketOptions;
  readonly #credentials = new RevocableCredentials();
  #keys: TicketKeys;

  constructor(options: TicketOptions) {
    this.#options = options;
    this.#keys = options.keys;
  }

  /** Takes other keys from now on. Who came by one that is gone has to go as well. */
  replaceKeys(keys: TicketKeys): void {
    this.#keys = keys;
    this.#credentials.review((name) => keys.find(({ id }) => id === name)?.id);
  }

  authenticate(attempt: Attempt): Verdict | Promise<Verdict> {
    const token = readToken(attempt.password);
    return token === null || token.typ !== TICKET_TYPE ? UNKNOWN : this.#check(token.text, attempt);
  }

  async #check(text: string, attempt: Attempt): Promise<Verdict> {
    const { clock, onRefused } = this.#options;
    try {
      const ticket = await verifyTicket(text, this.#keys, clock.wallNow());
      const problem = this.#problemWith(ticket, attempt);
      if (problem === null) return this.#accept(ticket, attempt);
      onRefused?.(problem, attempt);
    } catch (error) {
      if (!(error instanceof errors.JOSEError || error instanceof GrantsError)) throw error;
      onRefused?.(error instanceof errors.JOSEError ? error.code : error.message, attempt);
    }
    return REFUSED;
  }

  #problemWith(ticket: Ticket, { username, clientId, peer }: Attempt): string | null {
    if (username !== null && username !== ticket.user)
      return "the user name of the CONNECT is not the ticket's";
    if (peer.origin === undefined) return 'a ticket is for web pages, and this client is none';
    if (peer.origin !== ticket.origin) return "the page is not of the ticket's origin";
    if (ticket.clientId !== null && clientId !== ticket.clientId)
      return 'the ticket is for another client id';
    const isTooLong = ticket.endsAt - ticket.issuedAt > this.#options.secondsMax;
    return isTooLong ? 'the ticket lives longer than auth.tickets.secondsMax' : null;
  }

  #accept(ticket: Ticket, { clientId }: Attempt): Verdict {
    const { clock } = this.#options;
    const { user, publish, subscribe, endsAt, keyId } = ticket;
    const grants = grantsFrom(publish, subscribe, { username: user, clientId });
    const endsAtMs = clock.now() + endsAt * 1_000 - clock.wallNow();
    return { ok: true, username: user, grants, endsAtMs, credential: this.#credentials.of(keyId, keyId) };
  }
}

/** The HTTP service that makes tickets, where the configuration asks for it. */
import { readEndpointToken, TicketEndpoint } from '../auth/tickets/ticket-endpoint.ts';
import { readTicketKeys } from '../auth/tickets/ticket-key.ts';
import type { AuthConfig } from '../config/types.ts';
import type { Clock } from '../src/interfaces/clock.ts';
import type { Log } from '../src/interfaces/log.ts';
import { fileModes } from './logins.ts';
import type { WatchedFiles } from './watched-files.ts';

export interface TicketEndpointParts {
  readonly files: WatchedFiles;
  readonly log: Log;
  readonly clock: Clock;
}

/**
 * Not listening yet; null: not asked for.
 * @throws ConfigError when a file cannot be used
 */
export function openTicketEndpoint(auth: AuthConfig, parts: TicketEndpointParts): TicketEndpoint | null {
  const { mintUrl, mintTokenFile, keyFile, secondsMax } = auth.tickets;
  if (mintUrl === null) return null;
  const { files, log, clock } = parts;
  // All three are there: the configuration was checked.
  const readKeys = (path: string) => readTicketKeys(path, fileModes(auth));
  let keys = files.open({ name: 'ticket_keys', path: keyFile!, read: readKeys }, (changed) => {
    keys = changed;
  });
  const readToken = (path: string) => readEndpointToken(path, fileModes(auth));
  let token = files.open({ name: 'mint_token', path: mintTokenFile!, read: readToken }, (changed) => {
    token = changed;
  });
  return new TicketEndpoint({
    url: mintUrl,
    token: () => token,
    keys: () => keys,
    secondsMax,
    wallNow: () => clock.wallNow(),
    onMinted: (username, origin, seconds) => log.info('ticket.minted', { username, origin, seconds }),
    onRefused: (problem) => log.warn('ticket.not_minted', { problem }),
  });
}

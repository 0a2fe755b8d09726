/** An authenticator of one method for tests: what it says stands in a script, and it keeps what it was asked. */
import type { Attempt, Authenticator, Exchange, Step, Verdict } from '../../src/interfaces/auth.ts';

/** A reply: `continue` with this text, or the end. An error is thrown, or rejected when it answers later. */
export type Reply = string | null | Verdict | { verdict: Verdict; data: string } | Error;

export const METHOD = 'TEST-1';

/** Everything the client said, in the order it came. */
export class ExchangeAuthenticator implements Authenticator {
  readonly said: string[] = [];
  readonly attempts: Attempt[] = [];
  /** Replies still to be given; taken from the front. */
  replies: Reply[];
  /** Set: replies wait for it. */
  gate: Promise<void> | null = null;

  constructor(...replies: Reply[]) {
    this.replies = replies;
  }

  authenticate({ username }: Attempt): Verdict {
    return { ok: true, username };
  }

  exchange(method: string, attempt: Attempt): Exchange | null {
    if (method !== METHOD) return null;
    this.attempts.push(attempt);
    return {
      next: (data) => {
        this.said.push(Buffer.from(data).toString());
        const reply = this.replies.shift();
        return this.gate === null ? stepOf(reply) : this.gate.then(() => stepOf(reply));
      },
    };
  }
}

function stepOf(reply: Reply | undefined): Step {
  if (reply === undefined) throw new Error('the script is over');
  if (reply instanceof Error) throw reply;
  if (reply === null || typeof reply === 'string') return { kind: 'continue', data: bytes(reply) };
  if ('verdict' in reply) return { kind: 'end', verdict: reply.verdict, data: Buffer.from(reply.data) };
  return { kind: 'end', verdict: reply, data: null };
}

function bytes(text: string | null): Uint8Array | null {
  return text === null ? null : Buffer.from(text);
}

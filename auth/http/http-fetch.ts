/** One HTTP request with bounds: time, bytes of the answer, no redirects. For what decides who gets in. */

export interface BoundedRequest {
  readonly url: string;
  /** Sent by POST as JSON; without it: GET. */
  readonly body?: string;
  /** From the first packet to the last byte of the answer. */
  readonly timeoutMs: number;
  readonly answerBytesMax: number;
}

export interface BoundedAnswer {
  readonly status: number;
  readonly text: string;
}

/**
 * Asks and reads the whole answer. A redirect comes back as what it is: what a service sends elsewhere was not asked there,
 * and credentials must not be carried to whoever it names.
 * @throws Error saying what failed, without the body: nobody there, too late, too large, not UTF-8
 */
export async function fetchBounded(request: BoundedRequest): Promise<BoundedAnswer> {
  const { url, body, timeoutMs, answerBytesMax } = request;
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
  try {
    const response = await fetch(url, {
      method: body === undefined ? 'GET' : 'POST',
      headers: {
        accept: 'application/json',
        'user-agent': 'sluice',
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      redirect: 'manual',
      signal: abort.signal,
      ...(body === undefined ? {} : { body }),
    });
    const text = await readText(response, answerBytesMax, abort);
    return { status: response.status, text };
  } catch (error) {
    throw new Error(describeFault(abort.signal.aborted ? abort.signal.reason : error));
  } finally {
    clearTimeout(timer);
  }
}

/** Counts what has been unpacked, so that a small compressed answer cannot become a large one. */
async function readText(response: Response, bytesMax: number, abort: AbortController): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    if (bytes > bytesMax) {
      abort.abort(new Error(`an answer over ${bytesMax} bytes`));
      throw abort.signal.reason;
    }
    chunks.push(chunk);
  }
  return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks));
}

/** `fetch` says "fetch failed" and keeps the reason in `cause`. */
function describeFault(error: unknown): string {
  const { message, cause } = error as Error;
  if (!(cause instanceof Error)) return message;
  const { code } = cause as NodeJS.ErrnoException;
  return cause.message === '' ? (code ?? message) : cause.message;
}

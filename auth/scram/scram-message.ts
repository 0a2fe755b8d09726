/** What a SCRAM client says (RFC 5802 section 7), read strictly: anything else is null, which tells nothing of any user. */

export interface ClientFirst {
  /** Its first part, e.g. `n,,`, as it must come back in `c=`. */
  readonly gs2Header: string;
  /** Whom the client wants to act as; null: itself. */
  readonly authzid: string | null;
  /** As sent, with `=2C` and `=3D` read. */
  readonly username: string;
  readonly nonce: string;
  /** The message without its gs2 header, as it is signed. */
  readonly bare: string;
}

export interface ClientFinal {
  /** What the client says its gs2 header was. */
  readonly gs2Header: Buffer;
  readonly nonce: string;
  readonly proof: Buffer;
  /** The message without its proof, as it is signed. */
  readonly withoutProof: string;
}

/** SHA-256. */
const PROOF_BYTES = 32;
const PRINTABLE = /^[\x21-\x2b\x2d-\x7e]+$/;
const OPTIONAL = /^[A-Za-z]=[^\0]+$/;

/**
 * `n,,n=user,r=nonce`. Channel binding (`p=`) is refused, because no `-PLUS` method is offered; so is a mandatory extension (`m=`),
 * because none is known. Optional extensions are passed over.
 */
export function parseClientFirst(message: Uint8Array): ClientFirst | null {
  const parts = splitMessage(message);
  if (parts === null || parts.length < 4) return null;
  const [binding, authz, user, nonce, ...more] = parts;
  // y: the client could bind the channel and thinks that we cannot, which is so.
  if (binding !== 'n' && binding !== 'y') return null;
  const authzid = authz === '' ? null : saslName(authz, 'a=');
  const username = saslName(user, 'n=');
  if ((authz !== '' && authzid === null) || username === null) return null;
  if (!nonce.startsWith('r=') || !PRINTABLE.test(nonce.slice(2)) || !more.every(isOptional)) return null;
  const gs2Header = `${binding},${authz},`;
  return {
    gs2Header,
    authzid,
    username,
    nonce: nonce.slice(2),
    bare: parts.slice(2).join(','),
  };
}

/** `c=biws,r=nonce,p=proof`. */
export function parseClientFinal(message: Uint8Array): ClientFinal | null {
  const parts = splitMessage(message);
  if (parts === null || parts.length < 3) return null;
  const [binding, nonce, ...more] = parts;
  const last = more.pop()!;
  const header = binding.startsWith('c=') ? readBase64(binding.slice(2)) : null;
  const proof = last.startsWith('p=') ? readBase64(last.slice(2)) : null;
  if (header === null || proof === null || proof.length !== PROOF_BYTES) return null;
  if (!nonce.startsWith('r=') || !PRINTABLE.test(nonce.slice(2)) || !more.every(isOptional)) return null;
  return {
    gs2Header: header,
    nonce: nonce.slice(2),
    proof,
    withoutProof: parts.slice(0, -1).join(','),
  };
}

/** The attributes; null: not UTF-8, or with a NUL. A byte order mark is text like any other, so that nothing is signed that was not sent. */
function splitMessage(message: Uint8Array): string[] | null {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(message);
  } catch {
    return null;
  }
  return text.includes('\0') ? null : text.split(',');
}

/** A name behind its attribute; a comma in it is `=2C` and an equals sign `=3D`, and nothing else may follow `=`. */
function saslName(part: string, attribute: 'a=' | 'n='): string | null {
  if (!part.startsWith(attribute)) return null;
  const name = part.slice(2);
  if (name === '' || /=(?!2C|3D)/.test(name)) return null;
  return name.replaceAll('=2C', ',').replaceAll('=3D', '=');
}

function isOptional(part: string): boolean {
  return OPTIONAL.test(part) && !part.startsWith('m=');
}

/** Canonical base64, or null. */
function readBase64(text: string): Buffer | null {
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? bytes : null;
}

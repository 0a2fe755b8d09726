/** The client's side of SCRAM-SHA-256 (RFC 5802), written for tests and apart from the server's. */
import assert from 'node:assert/strict';
import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto';

const hmac = (key: Uint8Array, text: string): Buffer => createHmac('sha256', key).update(text).digest();

export interface ScramClientOptions {
  readonly username: string;
  readonly password: string;
  readonly nonce?: string;
  /** The gs2 header. */
  readonly header?: string;
}

export class ScramClient {
  readonly #password: string;
  readonly #header: string;
  readonly #nonce: string;
  readonly #bare: string;
  #serverSignature = '';

  constructor(options: ScramClientOptions) {
    const { username, password, nonce = randomBytes(12).toString('base64'), header = 'n,,' } = options;
    this.#password = password;
    this.#header = header;
    this.#nonce = nonce;
    this.#bare = `n=${username.replaceAll('=', '=3D').replaceAll(',', '=2C')},r=${nonce}`;
  }

  /** The client's first message. */
  first(): Buffer {
    return Buffer.from(`${this.#header}${this.#bare}`);
  }

  /** The client's final message, which answers the server's first. */
  final(serverFirst: Uint8Array): Buffer {
    const text = Buffer.from(serverFirst).toString();
    const [, nonce, salt, iterations] = /^r=([^,]+),s=([^,]+),i=(\d+)$/.exec(text) ?? assert.fail(text);
    assert.ok(nonce.startsWith(this.#nonce) && nonce.length > this.#nonce.length, nonce);
    const salted = pbkdf2Sync(this.#password, Buffer.from(salt, 'base64'), Number(iterations), 32, 'sha256');
    const clientKey = hmac(salted, 'Client Key');
    const withoutProof = `c=${Buffer.from(this.#header).toString('base64')},r=${nonce}`;
    const signed = `${this.#bare},${text},${withoutProof}`;
    const signature = hmac(createHash('sha256').update(clientKey).digest(), signed);
    this.#serverSignature = hmac(hmac(salted, 'Server Key'), signed).toString('base64');
    const proof = clientKey.map((byte, i) => byte ^ signature[i]);
    return Buffer.from(`${withoutProof},p=${Buffer.from(proof).toString('base64')}`);
  }

  /** Fails unless the server's final message proves that it knows the user. */
  check(serverFinal: Uint8Array | undefined): void {
    assert.equal(Buffer.from(serverFinal ?? []).toString(), `v=${this.#serverSignature}`);
  }
}

import { PacketType, type Properties } from '../codec/packets.ts';
import { ReasonCode } from '../codec/reason-codes.ts';
import type { Connection } from '../connection/connection.ts';
import { ProtocolError } from '../errors.ts';
import type { Exchange, Step, Verdict } from '../interfaces/auth.ts';
import { AUTHENTICATION_DATA_BYTES_MAX, AUTHENTICATION_STEPS_MAX } from '../limits.ts';

/** An exchange under way. */
interface Current {
  readonly exchange: Exchange;
  readonly conclude: (verdict: Verdict) => void;
  /** Times that the client was heard in it. */
  steps: number;
}

/**
 * The enhanced authentication of one connection (MQTT 5.0 section 4.12): the method that its CONNECT named, and the exchange under way,
 * at CONNECT or later. At most one at a time.
 */
export class EnhancedAuthentication {
  readonly method: string;
  /** True while the next word is the client's. */
  awaitsClient = false;
  readonly #connection: Connection;
  /** Let go at the verdict: with it hangs the whole CONNECT. */
  #current: Current | null = null;
  #data: Uint8Array | null = null;

  constructor(connection: Connection, method: string) {
    this.#connection = connection;
    this.method = method;
  }

  /** True from `begin` until the verdict. */
  get underWay(): boolean {
    return this.#current !== null;
  }

  /** [MQTT-4.12.0-5] what AUTH and a successful CONNACK carry: the method, and the data of the last step. */
  get properties(): Properties {
    const authenticationMethod = this.method;
    return this.#data === null
      ? { authenticationMethod }
      : { authenticationMethod, authenticationData: this.#data };
  }

  /**
   * Starts an exchange with the client's first Authentication Data.
   * @param conclude told the verdict, once
   */
  begin(exchange: Exchange, data: Uint8Array, conclude: (verdict: Verdict) => void): void {
    this.#current = { exchange, conclude, steps: 0 };
    this.#take(this.#current, data);
  }

  /** The client goes on. Throws ProtocolError when it was not asked to. */
  proceed(data: Uint8Array): void {
    if (this.#current === null || !this.awaitsClient)
      throw new ProtocolError(ReasonCode.PROTOCOL_ERROR, 'an AUTH that nothing asked for');
    this.#take(this.#current, data);
  }

  #take(current: Current, data: Uint8Array): void {
    if (data.length > AUTHENTICATION_DATA_BYTES_MAX)
      throw new ProtocolError(
        ReasonCode.QUOTA_EXCEEDED,
        `${data.length} bytes of authentication data are over the limit of ${AUTHENTICATION_DATA_BYTES_MAX}`,
      );
    const connection = this.#connection;
    const { state, broker } = connection;
    this.awaitsClient = false;
    current.steps++;
    const step = current.exchange.next(data);
    if (!(step instanceof Promise)) {
      this.#goOn(current, step);
      return;
    }
    step
      .catch((error: unknown): Step => {
        broker.log.error('auth.error', { ...connection.logFields, error: String(error) });
        return { kind: 'end', verdict: { ok: false, reason: 'unavailable' }, data: null };
      })
      .then((taken) => {
        // Closed meanwhile, by the client or at its time limit.
        if (connection.state !== state) return;
        try {
          this.#goOn(current, taken);
        } catch (error) {
          connection.fail(error);
        }
        connection.watchInput();
      })
      .catch((error: unknown) => connection.fail(error));
  }

  #goOn(current: Current, step: Step): void {
    this.#data = step.data;
    const connection = this.#connection;
    if (step.kind === 'continue' && connection.state === 'authenticating')
      connection.username ??= step.username ?? null;
    if (step.kind === 'continue' && current.steps < AUTHENTICATION_STEPS_MAX) {
      this.awaitsClient = true;
      // [MQTT-4.12.0-2]
      this.send(ReasonCode.CONTINUE_AUTHENTICATION);
      return;
    }
    this.#current = null;
    current.conclude(step.kind === 'end' ? step.verdict : { ok: false, reason: 'not-authorized' });
  }

  /** Sends AUTH. Throws ProtocolError when it is over the client's Maximum Packet Size, as nothing can replace it. */
  send(reasonCode: number): void {
    const fits = this.#connection.send({ type: PacketType.AUTH, reasonCode, properties: this.properties });
    if (!fits)
      throw new ProtocolError(ReasonCode.PACKET_TOO_LARGE, 'the AUTH is over the Maximum Packet Size');
  }
}

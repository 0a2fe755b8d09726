/** Tries rules out: others decide, and what these would decide differently is reported. */
import type { Action, Authorizer, Identity } from '../../src/interfaces/auth.ts';
import type { RuleAuthorizer } from './acl-authorizer.ts';
import type { ClientRule } from './acl-rules.ts';

/**
 * Characters of the differences that are remembered, so that each is reported once: some 20 000 of usual length, a few MiB
 * with what the set needs. When it is full all are forgotten, and may be reported again.
 */
const REMEMBERED_CHARACTERS_MAX = 1_048_576;

/** One question to which the two give different answers. */
export interface Difference {
  readonly identity: Identity;
  readonly action: Action;
  /** The topic name, or for `subscribe` the filter. */
  readonly topic: string;
  /** What holds. */
  readonly allowed: boolean;
  /** The rule that it holds by; null: none fits. */
  readonly by: ClientRule | null;
  /** The rule that the shadow goes by; null: none fits. */
  readonly shadowBy: ClientRule | null;
}

/** Decides as `live` does, and asks `shadow` the same each time. Answers are asked for once and then cached by the callers. */
export class ShadowAuthorizer implements Authorizer {
  readonly #live: RuleAuthorizer;
  readonly #shadow: RuleAuthorizer;
  readonly #onDifference: (difference: Difference) => void;
  readonly #reported = new Set<string>();
  #reportedCharacters = 0;
  #reportedGeneration = 0;

  /**
   * @param onDifference called while a packet is handled, so it must neither wait nor throw; once for each client, action and
   *   topic, until either has other rules
   */
  constructor(live: RuleAuthorizer, shadow: RuleAuthorizer, onDifference: (difference: Difference) => void) {
    this.#live = live;
    this.#shadow = shadow;
    this.#onDifference = onDifference;
  }

  /** The sum: generations only grow, so that it changes when either does, and everything is asked again. */
  get generation(): number {
    return this.#live.generation + this.#shadow.generation;
  }

  may(identity: Identity, action: Action, topic: string): boolean {
    const by = this.#live.decide(identity, action, topic);
    const shadowBy = this.#shadow.decide(identity, action, topic);
    const allowed = by?.allow ?? false;
    if (allowed !== (shadowBy?.allow ?? false) && this.#isNew(identity, action, topic)) {
      this.#onDifference({ identity, action, topic, allowed, by, shadowBy });
    }
    return allowed;
  }

  #isNew({ username, clientId }: Identity, action: Action, topic: string): boolean {
    const generation = this.generation;
    const key = JSON.stringify([username, clientId, action, topic]);
    const isFull = this.#reportedCharacters + key.length > REMEMBERED_CHARACTERS_MAX;
    if (isFull || generation !== this.#reportedGeneration) {
      this.#reported.clear();
      this.#reportedCharacters = 0;
      this.#reportedGeneration = generation;
    }
    if (this.#reported.has(key)) return false;
    this.#reported.add(key);
    this.#reportedCharacters += key.length;
    return true;
  }
}

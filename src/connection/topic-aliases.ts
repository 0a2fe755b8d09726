/** Aliases that we gave topics towards one client (MQTT 5.0 section 3.3.2.3.4): the first topics get one each, and keep it. */
export class TopicAliases {
  readonly #max: number;
  readonly #aliases = new Map<string, number>();

  /** `max`: the client's Topic Alias Maximum, or our lower bound. [MQTT-3.1.2-26] */
  constructor(max: number) {
    this.#max = max;
  }

  /** The alias that the client knows for this topic; 0: none. */
  known(topic: string): number {
    return this.#aliases.get(topic) ?? 0;
  }

  /** The alias for one more topic; 0: all are given. */
  next(): number {
    return this.#aliases.size < this.#max ? this.#aliases.size + 1 : 0;
  }

  /** Notes that a packet with topic and alias was sent. */
  commit(topic: string, alias: number): void {
    this.#aliases.set(topic, alias);
  }
}

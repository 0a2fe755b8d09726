import type { Delivery } from './delivery.ts';

/** Where an outgoing QoS 1 or 2 exchange stands. */
export const Stage = { FREE: 0, PUBACK: 1, PUBREC: 2, PUBCOMP: 3 } as const;
export type Stage = (typeof Stage)[keyof typeof Stage];

const CAPACITY_MIN = 16;
/** What an instance starts with; never written to, because the first identifier makes it grow. */
const NO_IDS = new Uint16Array(1);
const NO_STAGES = new Uint8Array(1);
const NO_DELIVERIES: (Delivery | null)[] = [null];
const PACKET_ID_MAX = 65_535;

/**
 * Packet identifiers in use towards one client, and what each waits for (MQTT 5.0 sections 2.2.1, 4.3).
 *
 * Three parallel arrays, indexed by `packetId & mask`. Identifiers are given out in sequence, so with twice as many
 * slots as exchanges a free one is at most a few steps away; a slot that an old exchange still holds is skipped.
 */
export class Inflight {
  #ids = NO_IDS;
  #stages = NO_STAGES;
  #deliveries = NO_DELIVERIES;
  #mask = 0;
  #size = 0;
  #bytes = 0;
  #last = 0;

  get size(): number {
    return this.#size;
  }

  /** Bytes of the deliveries kept here. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Takes the next free packet identifier, 1 to 65535. `delivery` is null when it need not survive the connection. */
  add(delivery: Delivery | null, stage: Stage): number {
    if ((this.#size + 1) * 2 > this.#ids.length && this.#ids.length <= PACKET_ID_MAX) this.#grow();
    let id = this.#last;
    do {
      id = id === PACKET_ID_MAX ? 1 : id + 1;
    } while (this.#stages[id & this.#mask] !== Stage.FREE);
    this.#last = id;
    this.#put(id, delivery, stage);
    return id;
  }

  /** Takes an identifier that is known from before a reconnect. */
  restore(packetId: number, delivery: Delivery | null, stage: Stage): void {
    if (this.#ids === NO_IDS) this.#grow();
    while (this.#stages[packetId & this.#mask] !== Stage.FREE) this.#grow();
    this.#put(packetId, delivery, stage);
    if (packetId > this.#last) this.#last = packetId;
  }

  stageOf(packetId: number): Stage {
    const slot = packetId & this.#mask;
    return this.#ids[slot] === packetId ? (this.#stages[slot] as Stage) : Stage.FREE;
  }

  /** Only for an identifier in use. */
  deliveryOf(packetId: number): Delivery | null {
    return this.#deliveries[packetId & this.#mask];
  }

  /** True while this delivery waits for PUBACK or PUBREC. */
  awaits(delivery: Delivery): boolean {
    const stage = this.stageOf(delivery.packetId);
    const isOpen = stage === Stage.PUBACK || stage === Stage.PUBREC;
    return isOpen && this.deliveryOf(delivery.packetId) === delivery;
  }

  /** Everything that was sent on this data stream and is not over, in the order it was first sent. */
  sentOn(stream: number): Delivery[] {
    if (this.#size === 0) return [];
    const all = this.#deliveries.filter((each) => each !== null && each.stream === stream) as Delivery[];
    return all.sort((a, b) => a.position - b.position);
  }

  setStage(packetId: number, stage: Stage): void {
    this.#stages[packetId & this.#mask] = stage;
  }

  remove(packetId: number): void {
    const slot = packetId & this.#mask;
    const delivery = this.#deliveries[slot];
    if (delivery !== null) this.#bytes -= delivery.message.bytes;
    this.#stages[slot] = Stage.FREE;
    this.#ids[slot] = 0;
    this.#deliveries[slot] = null;
    this.#size--;
  }

  /** Takes out everything that still has its delivery, in the order it was first sent. */
  drain(): Delivery[] {
    if (this.#size === 0) return [];
    const all: Delivery[] = [];
    for (const delivery of this.#deliveries) if (delivery !== null) all.push(delivery);
    this.#ids.fill(0);
    this.#stages.fill(Stage.FREE);
    this.#deliveries.fill(null);
    this.#size = 0;
    this.#bytes = 0;
    return all.sort((a, b) => a.position - b.position);
  }

  #put(id: number, delivery: Delivery | null, stage: Stage): void {
    const slot = id & this.#mask;
    this.#ids[slot] = id;
    this.#stages[slot] = stage;
    this.#deliveries[slot] = delivery;
    if (delivery !== null) this.#bytes += delivery.message.bytes;
    this.#size++;
  }

  #grow(): void {
    const [ids, stages, deliveries] = [this.#ids, this.#stages, this.#deliveries];
    const capacity = Math.max(CAPACITY_MIN, ids.length * 2);
    this.#ids = new Uint16Array(capacity);
    this.#stages = new Uint8Array(capacity);
    this.#deliveries = new Array(capacity).fill(null);
    this.#mask = capacity - 1;
    this.#size = 0;
    this.#bytes = 0;
    for (let slot = 0; slot < ids.length; slot++)
      if (stages[slot] !== Stage.FREE) this.#put(ids[slot], deliveries[slot], stages[slot] as Stage);
  }
}

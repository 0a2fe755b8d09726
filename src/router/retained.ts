/** Retained messages by topic name, with wildcard look-up (MQTT 5.0 section 3.3.1.3). */
import type { Message } from '../session/message.ts';

class RetainedNode {
  readonly parent: RetainedNode | null;
  readonly level: string;
  children: Map<string, RetainedNode> | null = null;
  message: Message | null = null;

  constructor(parent: RetainedNode | null, level: string) {
    this.parent = parent;
    this.level = level;
  }
}

export class RetainedMessages {
  readonly #root = new RetainedNode(null, '');
  #count = 0;
  #bytes = 0;

  get count(): number {
    return this.#count;
  }

  /** Bytes of all topics, payloads and properties. */
  get bytes(): number {
    return this.#bytes;
  }

  get(topic: string): Message | null {
    let node: RetainedNode | undefined = this.#root;
    for (const level of topic.split('/')) {
      node = node.children?.get(level);
      if (node === undefined) return null;
    }
    return node.message;
  }

  /** Keeps the message as its topic's last known value. [MQTT-3.3.1-5] */
  set(message: Message): void {
    let node = this.#root;
    for (const level of message.topic.split('/')) {
      node.children ??= new Map();
      let child = node.children.get(level);
      if (child === undefined) {
        child = new RetainedNode(node, level);
        node.children.set(level, child);
      }
      node = child;
    }
    if (node.message === null) this.#count++;
    else this.#bytes -= node.message.bytes;
    node.message = message;
    this.#bytes += message.bytes;
  }

  /** Forgets the topic's value; false when there was none. [MQTT-3.3.1-6] */
  delete(topic: string): boolean {
    let node: RetainedNode | undefined = this.#root;
    for (const level of topic.split('/')) {
      node = node.children?.get(level);
      if (node === undefined) return false;
    }
    if (node.message === null) return false;
    this.#count--;
    this.#bytes -= node.message.bytes;
    node.message = null;
    prune(node);
    return true;
  }

  /**
   * All messages that the filter selects, one at a time, and null for each step to a topic that it does not: however few
   * they are, whoever asks can stop in between. Safe against changes between two steps. What it keeps between them is one
   * iterator a level, not the siblings it has yet to visit.
   */
  *match(filter: string): Generator<Message | null, void> {
    const levels = filter.split('/');
    const stack: { nodes: Iterator<RetainedNode>; depth: number }[] = [
      { nodes: [this.#root].values(), depth: 0 },
    ];
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const next = top.nodes.next();
      if (next.done) {
        stack.pop();
        continue;
      }
      const node = next.value;
      const level = levels[top.depth];
      // `sport/#` selects `sport` itself (section 4.7.1.2)
      const selected = top.depth === levels.length || level === '#';
      yield selected ? node.message : null;
      if (level === '#') stack.push({ nodes: this.#wildcard(node), depth: top.depth });
      else if (level === '+') stack.push({ nodes: this.#wildcard(node), depth: top.depth + 1 });
      else if (level !== undefined) {
        const child = node.children?.get(level);
        if (child !== undefined) stack.push({ nodes: [child].values(), depth: top.depth + 1 });
      }
    }
  }

  /** Every message there is. */
  *all(): Generator<Message, void> {
    const stack: Iterator<RetainedNode>[] = [[this.#root].values()];
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const next = top.next();
      if (next.done) {
        stack.pop();
        continue;
      }
      const { message, children } = next.value;
      if (message !== null) yield message;
      if (children !== null) stack.push(children.values());
    }
  }

  /** [MQTT-4.7.2-1] at the first level a wildcard does not select what begins with $. */
  #wildcard(node: RetainedNode): Iterator<RetainedNode> {
    if (node.children === null) return new Map<string, RetainedNode>().values();
    return node === this.#root ? withoutDollar(node.children) : node.children.values();
  }
}

function* withoutDollar(children: Map<string, RetainedNode>): Generator<RetainedNode, void> {
  for (const child of children.values()) if (child.level.charCodeAt(0) !== 0x24) yield child;
}

function prune(leaf: RetainedNode): void {
  let node = leaf;
  while (node.parent !== null && node.message === null && node.children === null) {
    const { parent, level } = node;
    parent.children?.delete(level);
    if (parent.children?.size === 0) parent.children = null;
    node = parent;
  }
}

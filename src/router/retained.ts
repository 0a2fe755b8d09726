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

  /** All messages that the filter selects, one at a time; safe against changes between two steps. */
  *match(filter: string): Generator<Message, void> {
    const levels = filter.split('/');
    const stack: { node: RetainedNode; depth: number }[] = [{ node: this.#root, depth: 0 }];
    for (let item = stack.pop(); item !== undefined; item = stack.pop()) {
      const { node, depth } = item;
      const level = levels[depth];
      if (depth === levels.length || level === '#') {
        // `sport/#` selects `sport` itself (section 4.7.1.2)
        if (node.message !== null && node !== this.#root) yield node.message;
        if (level !== '#') continue;
      }
      if (level === '#') pushChildren(stack, node, depth, node === this.#root);
      else if (level === '+') pushChildren(stack, node, depth + 1, node === this.#root);
      else {
        const child = node.children?.get(level);
        if (child !== undefined) stack.push({ node: child, depth: depth + 1 });
      }
    }
  }

  /** Every message there is. */
  *all(): Generator<Message, void> {
    const stack: RetainedNode[] = [this.#root];
    for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
      if (node.message !== null) yield node.message;
      if (node.children !== null) for (const child of node.children.values()) stack.push(child);
    }
  }
}

/** [MQTT-4.7.2-1] at the first level a wildcard does not select what begins with $. */
function pushChildren(
  stack: { node: RetainedNode; depth: number }[],
  node: RetainedNode,
  depth: number,
  firstLevel: boolean,
): void {
  if (node.children === null) return;
  for (const child of node.children.values())
    if (!firstLevel || child.level.charCodeAt(0) !== 0x24) stack.push({ node: child, depth });
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

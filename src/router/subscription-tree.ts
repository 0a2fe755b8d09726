/** Subscriptions by topic filter, as a tree of levels: the cost of a match grows with what matches (MQTT 5.0 section 4.7). */
import type { Session } from '../session/session.ts';
import type { Subscription } from '../session/subscription.ts';
import { parseShared } from '../topics/names.ts';
import { SharedGroup } from './shared-group.ts';

/** One level of the tree. `#` and `+` are children with a field of their own. */
class TreeNode {
  readonly parent: TreeNode | null;
  readonly level: string;
  children: Map<string, TreeNode> | null = null;
  plus: TreeNode | null = null;
  hash: TreeNode | null = null;
  subscriptions: Map<Session, Subscription> | null = null;
  groups: Map<string, SharedGroup> | null = null;

  constructor(parent: TreeNode | null, level: string) {
    this.parent = parent;
    this.level = level;
  }

  get empty(): boolean {
    return (
      this.children === null &&
      this.plus === null &&
      this.hash === null &&
      this.subscriptions === null &&
      this.groups === null
    );
  }
}

export interface Matches {
  readonly subscriptions: Subscription[];
  readonly groups: SharedGroup[];
}

export class SubscriptionTree {
  readonly #root = new TreeNode(null, '');

  /** Adds or replaces the session's subscription to this filter. */
  add(subscription: Subscription): void {
    let node = this.#root;
    for (const level of subscription.topicFilter.split('/')) node = childOf(node, level);
    if (subscription.shareName === null) {
      node.subscriptions ??= new Map();
      node.subscriptions.set(subscription.session, subscription);
      return;
    }
    node.groups ??= new Map();
    let group = node.groups.get(subscription.shareName);
    if (group === undefined) {
      group = new SharedGroup();
      node.groups.set(subscription.shareName, group);
    }
    group.add(subscription);
  }

  remove(subscription: Subscription): void {
    let node: TreeNode | null = this.#root;
    for (const level of subscription.topicFilter.split('/')) {
      node = existingChild(node, level);
      if (node === null) return;
    }
    if (subscription.shareName === null) {
      node.subscriptions?.delete(subscription.session);
      if (node.subscriptions?.size === 0) node.subscriptions = null;
    } else {
      const group = node.groups?.get(subscription.shareName);
      group?.remove(subscription);
      if (group?.size === 0) node.groups?.delete(subscription.shareName);
      if (node.groups?.size === 0) node.groups = null;
    }
    prune(node);
  }

  /** The members of `$share/NAME/filter`; null when there are none. */
  group(sharedFilter: string): SharedGroup | null {
    const shared = parseShared(sharedFilter);
    if (shared === null || shared === 'invalid') return null;
    let node: TreeNode | null = this.#root;
    for (const level of shared.filter.split('/')) {
      node = existingChild(node, level);
      if (node === null) return null;
    }
    return node.groups?.get(shared.group) ?? null;
  }

  /** Everything whose filter matches the topic name. Walks level by level, never recursing into a client's depth. */
  match(topic: string): Matches {
    const found: Matches = { subscriptions: [], groups: [] };
    // [MQTT-4.7.2-1] no wildcard at the first level selects a topic that begins with $
    const dollar = topic.charCodeAt(0) === 0x24;
    let frontier = [this.#root];
    let first = true;
    for (const level of topic.split('/')) {
      const next: TreeNode[] = [];
      for (const node of frontier) {
        const child = node.children?.get(level);
        if (child !== undefined) next.push(child);
        if (first && dollar) continue;
        if (node.plus !== null) next.push(node.plus);
        if (node.hash !== null) collect(node.hash, found);
      }
      frontier = next;
      first = false;
    }
    for (const node of frontier) {
      collect(node, found);
      // `sport/#` selects `sport` too (section 4.7.1.2)
      if (node.hash !== null) collect(node.hash, found);
    }
    return found;
  }
}

function childOf(node: TreeNode, level: string): TreeNode {
  if (level === '+') {
    node.plus ??= new TreeNode(node, level);
    return node.plus;
  }
  if (level === '#') {
    node.hash ??= new TreeNode(node, level);
    return node.hash;
  }
  node.children ??= new Map();
  let child = node.children.get(level);
  if (child === undefined) {
    child = new TreeNode(node, level);
    node.children.set(level, child);
  }
  return child;
}

function existingChild(node: TreeNode, level: string): TreeNode | null {
  if (level === '+') return node.plus;
  if (level === '#') return node.hash;
  return node.children?.get(level) ?? null;
}

/** Takes nodes out that hold nothing any more, from the leaf up. */
function prune(leaf: TreeNode): void {
  let node = leaf;
  while (node.parent !== null && node.empty) {
    const { parent, level } = node;
    if (level === '+') parent.plus = null;
    else if (level === '#') parent.hash = null;
    else {
      parent.children?.delete(level);
      if (parent.children?.size === 0) parent.children = null;
    }
    node = parent;
  }
}

function collect(node: TreeNode, found: Matches): void {
  if (node.subscriptions !== null)
    for (const each of node.subscriptions.values()) found.subscriptions.push(each);
  if (node.groups !== null) for (const each of node.groups.values()) found.groups.push(each);
}

/** A doubly linked list whose links are in its members: joining, leaving and looking at the oldest cost no search and no allocation. */

export interface Link {
  previous: Link | null;
  next: Link | null;
}

/** Oldest first. A member is in one chain at a time. */
export class Chain<T extends Link> {
  #first: Link | null = null;
  #last: Link | null = null;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get first(): T | null {
    return this.#first as T | null;
  }

  /** The member behind this one. */
  after(member: T): T | null {
    return member.next as T | null;
  }

  push(member: T): void {
    member.previous = this.#last;
    member.next = null;
    if (this.#last === null) this.#first = member;
    else this.#last.next = member;
    this.#last = member;
    this.#size++;
  }

  /** Takes out a member; it must be in this chain. */
  remove(member: T): void {
    if (member.previous === null) this.#first = member.next;
    else member.previous.next = member.next;
    if (member.next === null) this.#last = member.previous;
    else member.next.previous = member.previous;
    member.previous = null;
    member.next = null;
    this.#size--;
  }
}

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { HashQueue, type HashTurn } from '../../auth/passwords/hash-queue.ts';

function turn(address = 'here', rank = 0, memoryKib = 0): HashTurn {
  return { address, rank, memoryKib };
}

/** A queue that computes one at a time and is occupied until `open` is called; who ran, in order, is in `ran`. */
function occupied(options: ConstructorParameters<typeof HashQueue>[0] = {}) {
  const queue = new HashQueue({ atOnceMax: 1, ...options });
  const ran: string[] = [];
  const gate = Promise.withResolvers<void>();
  const results: (Promise<string | null> | null)[] = [queue.offer(turn(), () => gate.promise.then(() => ''))];
  const offer = (name: string, of: HashTurn): Promise<string | null> | null => {
    const result = queue.offer(of, async () => {
      ran.push(name);
      return name;
    });
    results.push(result);
    return result;
  };
  const open = async (): Promise<(string | null)[]> => {
    gate.resolve();
    return (await Promise.all(results)).slice(1);
  };
  return { queue, ran, offer, open };
}

describe('The hash queue', () => {
  it('runs two at once, the rest in the order they came, also when one fails', async () => {
    const queue = new HashQueue({ atOnceMax: 2, waitingMax: 8 });
    const order: number[] = [];
    let running = 0;
    const task = (n: number) => async () => {
      order.push(n);
      assert.ok(++running <= 2);
      await new Promise((next) => setImmediate(next));
      running--;
      if (n === 1) throw new Error('broken');
      return n;
    };
    const results = await Promise.allSettled([0, 1, 2, 3, 4, 5].map((n) => queue.offer(turn(), task(n))!));
    assert.deepEqual(order, [0, 1, 2, 3, 4, 5]);
    assert.deepEqual(
      results.map((result) => result.status === 'fulfilled'),
      [true, false, true, true, true, true],
    );
    assert.equal(await queue.offer(turn(), async () => 'free'), 'free');
  });

  it('refuses what does not fit', async () => {
    const { queue, offer, open } = occupied({ waitingMax: 1 });
    assert.notEqual(offer('first', turn()), null);
    assert.equal(offer('second', turn()), null);
    assert.deepEqual(await open(), ['first', null]);
    assert.equal(queue.waiting, 0);
  });

  it('gives every address its turn, however many one of them has sent', async () => {
    const { ran, offer, open } = occupied();
    for (let i = 0; i < 5; i++) offer(`flood ${i}`, turn('flood'));
    offer('one', turn('one'));
    offer('two', turn('two'));
    await open();
    assert.deepEqual(ran, ['flood 0', 'one', 'two', 'flood 1', 'flood 2', 'flood 3', 'flood 4']);
  });

  it('lets an address that has had no turn yet go before those that have had one and want more', async () => {
    const { queue, ran, offer, open } = occupied();
    for (const name of ['a', 'b', 'c']) {
      for (let i = 0; i < 3; i++) offer(`${name}${i}`, turn(name));
    }
    const newcomers: unknown[] = [];
    // He comes when everybody has had one turn.
    queue.offer(turn('d'), async () => {
      ran.push('d');
      newcomers.push(queue.offer(turn('newcomer'), async () => ran.push('newcomer')));
    });
    await open();
    await Promise.all(newcomers);
    assert.deepEqual(ran, ['a0', 'b0', 'c0', 'd', 'newcomer', 'a1', 'b1', 'c1', 'a2', 'b2', 'c2']);
  });

  it('takes lower ranks first, whoever came first', async () => {
    const { ran, offer, open } = occupied();
    offer('failing', turn('a', 2));
    offer('new', turn('b', 1));
    offer('known', turn('a', 0));
    await open();
    assert.deepEqual(ran, ['known', 'new', 'failing']);
  });

  it('asks again when a turn comes: a rank that has risen goes on waiting, and what is not wanted is dropped', async () => {
    const { queue, ran, offer, open } = occupied();
    let [first, second]: (number | null)[] = [0, 0];
    offer('demoted', { ...turn('a'), rankNow: () => first });
    offer('demoted too', { ...turn('a'), rankNow: () => first });
    offer('unwanted', { ...turn('b'), rankNow: () => second });
    offer('behind', turn('c', 1));
    first = 2;
    second = null;
    assert.deepEqual(await open(), ['demoted', 'demoted too', null, 'behind']);
    assert.deepEqual(ran, ['behind', 'demoted', 'demoted too']);
    assert.equal(queue.waiting, 0);
  });

  it('lets no address have more than its share of the places, whatever its ranks', async () => {
    const { queue, offer, open } = occupied({ waitingMax: 10, waitingPerAddressMax: 3 });
    const taken = [0, 1, 2, 0, 1].map((rank) => offer(`flood at ${rank}`, turn('flood', rank)) !== null);
    assert.deepEqual(taken, [true, true, true, false, false]);
    assert.notEqual(offer('other', turn('other')), null);
    assert.equal(queue.waiting, 4);
    await open();
    assert.equal(queue.waiting, 0);
    assert.equal(await queue.offer(turn('flood'), async () => 'again'), 'again');
  });

  it('makes room when it is full by sending away the last of the longest line', async () => {
    const { ran, offer, open } = occupied({ waitingMax: 4 });
    for (let i = 0; i < 3; i++) offer(`flood ${i}`, turn('flood'));
    offer('one', turn('one'));
    assert.notEqual(offer('two', turn('two')), null);
    assert.equal(offer('flood again', turn('flood')), null);
    assert.deepEqual(await open(), ['flood 0', 'flood 1', null, 'one', 'two', null]);
    assert.deepEqual(ran, ['flood 0', 'one', 'two', 'flood 1']);
  });

  it('makes room for a lower rank even where every address has but one place, and never for a higher one', async () => {
    const { offer, open } = occupied({ waitingMax: 2 });
    offer('failing', turn('a', 2));
    offer('new', turn('b', 1));
    assert.equal(offer('failing too', turn('c', 2)), null);
    assert.notEqual(offer('known', turn('d', 0)), null);
    assert.notEqual(offer('known too', turn('e', 0)), null);
    assert.equal(offer('known three', turn('f', 0)), null);
    assert.deepEqual(await open(), [null, null, null, 'known', 'known too', null]);
  });

  it('computes hashes together only while they fit into the memory, and one that is too large alone', async () => {
    const queue = new HashQueue({ atOnceMax: 4, memoryKibMax: 100 });
    let memoryKib = 0;
    const seen: number[] = [];
    const task = (needs: number) => async () => {
      memoryKib += needs;
      seen.push(memoryKib);
      await new Promise((next) => setImmediate(next));
      memoryKib -= needs;
      return needs;
    };
    const needs = [40, 40, 40, 300, 10, 10];
    const results = await Promise.all(needs.map((each) => queue.offer(turn('here', 0, each), task(each))!));
    assert.deepEqual(results, needs);
    assert.deepEqual(seen, [40, 80, 80, 300, 10, 20]);
  });

  it('computes nothing for those who have waited too long', async () => {
    let now = 0;
    const { queue, ran, offer, open } = occupied({ waitMsMax: 5_000, now: () => now });
    offer('early', turn('a'));
    offer('early too', turn('b'));
    now = 4_000;
    offer('late', turn('c'));
    now = 5_001;
    assert.deepEqual(await open(), [null, null, 'late']);
    assert.deepEqual(ran, ['late']);
    assert.equal(queue.waiting, 0);
  });
});

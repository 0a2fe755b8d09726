import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { type DoorkeeperOptions, SharedDoorkeeper } from '../../src/gate/doorkeeper.ts';
import type { Visit } from '../../src/interfaces/doorkeeper.ts';
import { DEFAULT_STRANGER_LIMITS, type StrangerLimits } from '../../src/limits.ts';
import { Statistics } from '../../src/statistics.ts';
import { FakeClock } from '../support/fake-clock.ts';

const DOOR = 'mqtt://0.0.0.0:1883';
const UNLIMITED: StrangerLimits = {
  totalMax: 1_000_000,
  perAddressMax: 0,
  perPrefixMax: 0,
  connectsPerSecondPerAddressMax: 0,
  connectBurstPerAddressMax: 1,
  connectionsPerAddressMax: 0,
};

let clock: FakeClock;
let lines: Record<string, unknown>[];
let statistics: Statistics;
let evicted: string[];
let keeper: SharedDoorkeeper;

function open(limits: Partial<StrangerLimits>): void {
  clock = new FakeClock();
  lines = [];
  evicted = [];
  statistics = new Statistics();
  const warn = (event: string, fields?: object) => lines.push({ event, ...fields });
  const log: DoorkeeperOptions['log'] = { debug() {}, info() {}, warn, error() {} };
  keeper = new SharedDoorkeeper({ limits: { ...UNLIMITED, ...limits }, clock, log, statistics });
}

/** Knocks; the name (by default the address) is written down when the visitor is evicted. */
function knock(address: string, name = address): Visit | null {
  return keeper.knock(DOOR, address, () => evicted.push(name));
}

/** Knocks and must get in. */
function enter(address: string, name = address): Visit {
  const visit = knock(address, name);
  assert.ok(visit !== null, `${address} was turned away`);
  return visit;
}

const reasons = (): unknown[] => lines.map(({ reason }) => reason);

describe('the room for strangers', () => {
  beforeEach(() => open({ totalMax: 3 }));

  it('evicts the oldest when it is full, and lets the newest in', () => {
    for (const host of ['10.1.0.1', '10.2.0.1', '10.3.0.1']) enter(host);
    assert.deepEqual(evicted, []);
    enter('10.4.0.1');
    enter('10.5.0.1');
    assert.deepEqual(evicted, ['10.1.0.1', '10.2.0.1']);
    assert.equal(statistics.strangers, 3);
    assert.equal(statistics.strangersEvicted, 2);
    assert.deepEqual(lines[0], {
      event: 'stranger.turned_away',
      door: DOOR,
      address: '10.1.0.1',
      reason: 'evicted',
    });
  });

  it('never evicts who has logged in, and gives his place back', () => {
    enter('10.1.0.1').loggedIn();
    for (let n = 2; n < 50; n++) enter(`10.${n}.0.1`);
    assert.ok(!evicted.includes('10.1.0.1'));
    assert.equal(evicted.length, 45);
  });

  it('gives the place of one who has left back', () => {
    const visits = ['10.1.0.1', '10.2.0.1', '10.3.0.1'].map((host) => enter(host));
    visits[1].left();
    assert.equal(statistics.strangers, 2);
    enter('10.4.0.1');
    assert.deepEqual(evicted, []);
  });

  it('evicts of those who came first one from the most crowded prefix', () => {
    enter('192.0.2.1', 'the lonely one');
    enter('203.0.113.1');
    enter('203.0.113.2');
    enter('203.0.113.3');
    enter('203.0.113.4');
    assert.deepEqual(evicted, ['203.0.113.1', '203.0.113.2']);
  });

  it('counts this machine too, which has no other bound', () => {
    for (const local of ['127.0.0.1', '::1', '/run/sluice.sock', '127.8.8.8']) enter(local);
    assert.deepEqual(evicted, ['127.0.0.1']);
  });

  it('takes a login or an end that comes after an eviction in its stride', () => {
    const first = enter('10.1.0.1');
    for (let n = 2; n < 6; n++) enter(`10.${n}.0.1`);
    first.loggedIn();
    first.left();
    first.left();
    assert.equal(statistics.strangers, 3);
    assert.equal(first.moved('10.9.9.9'), false);
  });

  it('keeps 20 000 silent sockets from keeping a client out', () => {
    open({ totalMax: 100 });
    const silent: (Visit | null)[] = [];
    for (let n = 0; n < 20_000; n++) {
      silent.push(knock(`10.${n % 250}.${n % 249}.${n % 248}`));
      if (n % 1_000 !== 0) continue;
      enter('192.0.2.1', 'client').loggedIn();
    }
    assert.ok(!evicted.includes('client'));
    assert.equal(statistics.strangers, 100);
    for (const visit of silent) visit?.left();
    assert.equal(statistics.strangers, 0);
  });
});

describe('the bounds for one address and one prefix', () => {
  it('turns away the stranger that is one too many from his address, and takes him when another has logged in', () => {
    open({ perAddressMax: 2 });
    const first = enter('192.0.2.1');
    enter('192.0.2.1');
    assert.equal(knock('192.0.2.1'), null);
    assert.deepEqual(reasons(), ['strangers-per-address']);
    assert.equal(statistics.strangersTurnedAway, 1);
    enter('192.0.2.2');
    first.loggedIn();
    enter('192.0.2.1');
    assert.equal(knock('192.0.2.1'), null);
  });

  it('counts an IPv4 address in IPv6 clothes, and every address of an IPv6 /64, as one host', () => {
    open({ perAddressMax: 1 });
    enter('192.0.2.1');
    assert.equal(knock('::ffff:192.0.2.1'), null);
    enter('2001:db8:1:2::1');
    assert.equal(knock('2001:db8:1:2:ffff:ffff:ffff:ffff'), null);
    assert.equal(knock('2001:0DB8:0001:0002::9'), null);
    enter('2001:db8:1:3::1');
    enter('2001:db8:0:2::1');
    enter('fe80::1%eth0');
    assert.equal(knock('fe80::2%eth1'), null);
  });

  it('counts an IPv4 /24 and an IPv6 /48 as one prefix', () => {
    open({ perPrefixMax: 2 });
    enter('192.0.2.1');
    enter('192.0.2.254');
    assert.equal(knock('192.0.2.77'), null);
    enter('192.0.3.1');
    enter('2001:db8:1:1::1');
    enter('2001:db8:1:2::1');
    assert.equal(knock('2001:db8:1:3::1'), null);
    enter('2001:db8:2:1::1');
    assert.deepEqual(reasons(), ['strangers-per-prefix', 'strangers-per-prefix']);
  });

  it('does not count those of this machine against each other', () => {
    open({
      perAddressMax: 1,
      perPrefixMax: 1,
      connectionsPerAddressMax: 1,
      connectsPerSecondPerAddressMax: 1,
    });
    for (const local of ['127.0.0.1', '::1', '/run/a.sock', '::ffff:127.0.0.1', '0:0:0:0:0:0:0:1']) {
      for (let n = 0; n < 10; n++) enter(local);
    }
    assert.equal(keeper.tallies, 0);
  });

  it('counts all sockets of an address where that is asked for, until they are gone', () => {
    open({ connectionsPerAddressMax: 2 });
    const first = enter('192.0.2.1');
    first.loggedIn();
    enter('192.0.2.1').loggedIn();
    assert.equal(knock('192.0.2.1'), null);
    assert.deepEqual(reasons(), ['connections-per-address']);
    first.left();
    enter('192.0.2.1');
  });
});

describe('the rate of one address', () => {
  it('takes a burst at once and then so many a second, refusals included', () => {
    open({ connectsPerSecondPerAddressMax: 2, connectBurstPerAddressMax: 5 });
    const burst = Array.from({ length: 8 }, () => knock('192.0.2.1'));
    assert.equal(burst.filter((visit) => visit !== null).length, 5);
    assert.deepEqual(new Set(reasons()), new Set(['connects-per-second']));
    enter('192.0.2.2');
    clock.advance(499);
    assert.equal(knock('192.0.2.1'), null);
    clock.advance(1);
    enter('192.0.2.1');
    assert.equal(knock('192.0.2.1'), null);
  });

  it('remembers who has gone until his bucket is full again, and not for longer', () => {
    open({ connectsPerSecondPerAddressMax: 2, connectBurstPerAddressMax: 5 });
    for (let n = 0; n < 5; n++) enter('192.0.2.1').left();
    assert.equal(knock('192.0.2.1'), null, 'leaving does not fill the bucket');
    assert.equal(keeper.tallies, 1);
    clock.advance(4_000);
    assert.equal(keeper.tallies, 0);
    for (let n = 0; n < 5; n++) enter('192.0.2.1').left();
  });

  it('remembers a bounded number of addresses, however many knock', () => {
    open({ ...DEFAULT_STRANGER_LIMITS });
    for (let n = 0; n < 100_000; n++) {
      knock(`2001:db8:${(n % 65_536).toString(16)}:${Math.floor(n / 7).toString(16)}::1`)?.left();
    }
    assert.ok(keeper.tallies <= 20_000, `${keeper.tallies}`);
  });

  it('remembers nobody who has gone where there is no rate', () => {
    open({ perAddressMax: 5 });
    const visit = enter('192.0.2.1');
    assert.equal(keeper.tallies, 2);
    visit.loggedIn();
    assert.equal(keeper.tallies, 0);
    visit.left();
    assert.equal(keeper.tallies, 0);
  });
});

describe('the log', () => {
  it('names a hundred of a flood in a second, and counts the others by reason', () => {
    open({ totalMax: 1, perAddressMax: 1 });
    for (let n = 0; n < 151; n++) enter(`10.0.${n}.1`);
    knock('10.0.150.1');
    assert.equal(lines.length, 100);
    clock.advance(1_000);
    const event = 'stranger.turned_away';
    assert.deepEqual(lines.slice(100), [
      { event, reason: 'evicted', more: 50 },
      { event, reason: 'strangers-per-address', more: 1 },
    ]);
    enter('10.1.0.1');
    assert.equal(lines.length, 103);
    keeper.close();
    assert.equal(lines.length, 103);
  });
});

describe('a visitor that a proxy brings', () => {
  it('is counted where he comes from, once that is known', () => {
    open({ perAddressMax: 1, totalMax: 10 });
    const visits = Array.from({ length: 3 }, () => enter(''));
    assert.equal(visits[0].moved('192.0.2.1'), true);
    assert.equal(visits[1].moved('192.0.2.1'), false);
    assert.equal(visits[2].moved('192.0.2.2'), true);
    assert.equal(knock('192.0.2.1'), null);
    assert.equal(statistics.strangers, 3, 'the one refused is there until his socket is gone');
    visits[1].left();
    assert.equal(statistics.strangers, 2);
    visits[0].left();
    enter('192.0.2.1');
  });

  it('is not counted where he was before', () => {
    open({ perAddressMax: 1 });
    const visit = enter('192.0.2.1');
    visit.moved('198.51.100.1');
    enter('192.0.2.1');
    assert.equal(knock('198.51.100.1'), null);
  });
});

describe('a door that does not let everybody in', () => {
  it('turns others away without counting them, and has the same budget as every door', () => {
    open({ totalMax: 2 });
    const door = keeper.behind((address) => address.startsWith('10.'));
    assert.equal(
      door.knock('mqtt://b', '192.0.2.1', () => {}),
      null,
    );
    assert.deepEqual(lines, [
      { event: 'stranger.turned_away', door: 'mqtt://b', address: '192.0.2.1', reason: 'denied' },
    ]);
    assert.equal(statistics.strangers, 0);
    enter('192.0.2.1', 'first');
    assert.ok(door.knock('mqtt://b', '10.0.0.1', () => evicted.push('second')) !== null);
    enter('192.0.2.2', 'third');
    assert.deepEqual(evicted, ['first']);
  });

  it('looks at the address that a proxy tells', () => {
    open({});
    const visit = keeper.behind((address) => address.startsWith('10.')).knock(DOOR, '', () => {});
    assert.equal(visit?.moved('192.0.2.1'), false);
    assert.equal(visit?.moved('10.0.0.1'), true);
  });
});

describe('the doorkeeper under random traffic', () => {
  it('counts back to nothing when everybody has gone', () => {
    open({ totalMax: 50, perAddressMax: 5, perPrefixMax: 12, connectionsPerAddressMax: 8 });
    let state = 42;
    const random = (below: number): number => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    const address = (): string => {
      const kind = random(10);
      if (kind === 0) return '';
      return kind === 1 ? '127.0.0.1' : `10.0.${random(4)}.${random(6)}`;
    };
    const visits: Visit[] = [];
    for (let step = 0; step < 20_000; step++) {
      const visit = visits[random(visits.length)];
      const act = random(6);
      if (act < 3) {
        const added = knock(address());
        if (added !== null) visits.push(added);
      } else if (visit !== undefined) {
        if (act === 3) visit.loggedIn();
        else if (act === 4) visit.moved(address());
        else {
          visit.left();
          visits.splice(visits.indexOf(visit), 1);
        }
      }
      assert.ok(statistics.strangers <= 50);
    }
    assert.ok(evicted.length > 0 && statistics.strangersTurnedAway > 0);
    for (const visit of visits) visit.left();
    assert.equal(statistics.strangers, 0);
    assert.equal(keeper.tallies, 0);
  });
});

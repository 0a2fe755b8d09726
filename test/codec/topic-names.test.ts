/** Topic names and filters: the rules of section 4.7, and every pair of small filters against a plain definition. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  filterCovers,
  filtersOverlap,
  isValidTopicFilter,
  isValidTopicName,
  parseShared,
  topicMatches,
} from '../../src/topics/names.ts';

describe('topic names', () => {
  test('ordinary, spaced, empty-levelled and $ names are valid 5.0:[MQTT-4.7.3-1]', () => {
    for (const name of ['a', '/', '//', 'a b/c', '/a', 'a/', '$SYS/x', 'ü/漢/\u{1f680}', '\ufeff']) {
      assert.ok(isValidTopicName(name, 8), name);
    }
  });

  test('an empty name is invalid 5.0:[MQTT-4.7.3-1] 3.1.1:[MQTT-4.7.3-1]', () => {
    assert.equal(isValidTopicName('', 8), false);
  });

  test('a name with U+0000 is invalid 5.0:[MQTT-4.7.3-2] 3.1.1:[MQTT-4.7.3-2]', () => {
    assert.equal(isValidTopicName('a\0b', 8), false);
  });

  test('a name with a wildcard anywhere is invalid 5.0:[MQTT-4.7.0-1]', () => {
    for (const name of ['+', '#', 'a/+', 'a+', 'a/#', '#a', 'a/+/b'])
      assert.equal(isValidTopicName(name, 8), false, name);
  });

  test('a name with a lone surrogate is invalid, because it has no UTF-8 form', () => {
    assert.equal(isValidTopicName('a\ud800', 8), false);
  });

  test('a name may have as many levels as the limit and no more', () => {
    assert.equal(isValidTopicName('a/b/c', 3), true);
    assert.equal(isValidTopicName('a/b/c/', 3), false);
  });
});

describe('topic filters', () => {
  test('+ may be a whole level anywhere 5.0:[MQTT-4.7.1-2] 3.1.1:[MQTT-4.7.1-3]', () => {
    for (const filter of ['+', '+/+', '/+', 'a/+/b', '+/#', '+/'])
      assert.ok(isValidTopicFilter(filter, 8), filter);
    for (const filter of ['a+', '+a', 'a/b+', 'a/+b/c', '++']) {
      assert.equal(isValidTopicFilter(filter, 8), false, filter);
    }
  });

  test('# may only be the whole last level 5.0:[MQTT-4.7.1-1] 3.1.1:[MQTT-4.7.1-2]', () => {
    for (const filter of ['#', 'a/#', '/#', '//#']) assert.ok(isValidTopicFilter(filter, 8), filter);
    for (const filter of ['a#', '#/', '#/a', 'a/#/b', '##', '#a', '+#', '#+']) {
      assert.equal(isValidTopicFilter(filter, 8), false, filter);
    }
  });

  test('empty filters, U+0000 and lone surrogates are invalid 5.0:[MQTT-4.7.3-1] 5.0:[MQTT-4.7.3-2]', () => {
    for (const filter of ['', 'a\0', '\udc00']) assert.equal(isValidTopicFilter(filter, 8), false);
  });

  test('a filter may have as many levels as the limit and no more', () => {
    assert.equal(isValidTopicFilter('+/b/#', 3), true);
    assert.equal(isValidTopicFilter('+/b/c/#', 3), false);
  });
});

describe('shared subscription filters', () => {
  test('a group and a filter come apart at the second slash', () => {
    assert.deepEqual(parseShared('$share/g/a/+'), { group: 'g', filter: 'a/+' });
    assert.deepEqual(parseShared('$share/g//a'), { group: 'g', filter: '/a' });
    assert.deepEqual(parseShared('$share/a b/#'), { group: 'a b', filter: '#' });
  });

  test('a filter that does not begin with the whole level $share is an ordinary one', () => {
    for (const filter of ['a', '#', '$shared/g/a', '$SHARE/g/a', '/$share/g/a'])
      assert.equal(parseShared(filter), null);
  });

  test('a group is at least one character without wildcards 5.0:[MQTT-4.8.2-1] 5.0:[MQTT-4.8.2-2]', () => {
    for (const filter of ['$share//a', '$share/+/a', '$share/g#/a', '$share/a+b/c']) {
      assert.equal(parseShared(filter), 'invalid', filter);
    }
  });

  test('a group must be followed by a slash and a filter 5.0:[MQTT-4.8.2-2]', () => {
    for (const filter of ['$share', '$share/', '$share/g', '$share/g/'])
      assert.equal(parseShared(filter), 'invalid', filter);
  });
});

describe('matching', () => {
  const cases: readonly (readonly [filter: string, topic: string, matches: boolean])[] = [
    ['sport/tennis/player1/#', 'sport/tennis/player1', true],
    ['sport/tennis/player1/#', 'sport/tennis/player1/score/wimbledon', true],
    ['sport/#', 'sport', true],
    ['sport/#', 'sports', false],
    ['#', '/', true],
    ['sport/tennis/+', 'sport/tennis/player1', true],
    ['sport/tennis/+', 'sport/tennis/player1/ranking', false],
    ['sport/+', 'sport', false],
    ['sport/+', 'sport/', true],
    ['+/+', '/finance', true],
    ['/+', '/finance', true],
    ['+', '/finance', false],
    ['a', 'A', false],
    ['a/', 'a', false],
    ['/a', 'a', false],
  ];
  for (const [filter, topic, matches] of cases) {
    test(`${filter} ${matches ? 'matches' : 'does not match'} ${topic}`, () => {
      assert.equal(topicMatches(filter, topic), matches);
    });
  }

  test('a wildcard at the first level matches no topic that begins with $ 5.0:[MQTT-4.7.2-1] 3.1.1:[MQTT-4.7.2-1]', () => {
    for (const filter of ['#', '+', '+/#', '+/monitor/Clients']) {
      assert.equal(topicMatches(filter, '$SYS/monitor/Clients'), false, filter);
    }
    for (const filter of ['$SYS/#', '$SYS/monitor/+', '$SYS/+/#']) {
      assert.equal(topicMatches(filter, '$SYS/monitor/Clients'), true, filter);
    }
    assert.equal(topicMatches('a/+', 'a/$b'), true);
  });

  test('topics and filters of 30 000 levels are compared without exhausting the stack', () => {
    const topic = 'a/'.repeat(30_000);
    const filter = '+/'.repeat(30_000);
    assert.equal(topicMatches(filter, topic), true);
    assert.equal(filtersOverlap(filter, topic), true);
    assert.equal(filterCovers(filter, topic), true);
    assert.equal(filterCovers(topic, filter), false);
  });
});

/** Every list of one to `depth` of these levels, joined. */
function paths(levels: readonly string[], depth: number): string[] {
  let row = [...levels];
  const all = [...row];
  for (let length = 2; length <= depth; length++) {
    row = row.flatMap((path) => levels.map((level) => `${path}/${level}`));
    all.push(...row);
  }
  return all.filter((path) => path !== '');
}

/** Section 4.7 word for word, level by level. */
function plainlyMatches(filter: string[], topic: string[]): boolean {
  if (topic[0]!.startsWith('$') && (filter[0] === '+' || filter[0] === '#')) return false;
  for (const [index, level] of filter.entries()) {
    if (level === '#') return true;
    if (index >= topic.length || (level !== '+' && level !== topic[index])) return false;
  }
  return filter.length === topic.length;
}

function plainlyMatchesWithParent(filter: string, topic: string): boolean {
  const levels = filter.split('/');
  const parent = levels.length > 1 && levels.at(-1) === '#' ? levels.slice(0, -1) : levels;
  return plainlyMatches(levels, topic.split('/')) || plainlyMatches(parent, topic.split('/'));
}

describe('every pair of small filters', () => {
  // `z` stands in no filter and one level more than any filter has, so that what only wildcards select is there too.
  const topics = paths(['a', '', '$x', 'z'], 4);
  const stems = paths(['a', '', '$x', '+'], 2);
  const filters = [...paths(['a', '', '$x', '+'], 3), '#', '/#', ...stems.map((stem) => `${stem}/#`)];
  const selected = filters.map((filter) => topics.map((topic) => plainlyMatchesWithParent(filter, topic)));

  test('matching agrees with the definition', () => {
    for (const [f, filter] of filters.entries()) {
      for (const [t, topic] of topics.entries()) {
        assert.equal(topicMatches(filter, topic), selected[f]![t], `${filter} and ${topic}`);
      }
    }
  });

  test('two filters overlap exactly when some topic is matched by both', () => {
    for (const [a, filterA] of filters.entries()) {
      for (const [b, filterB] of filters.entries()) {
        const overlap = selected[a]!.some((hit, t) => hit && selected[b]![t]);
        assert.equal(filtersOverlap(filterA, filterB), overlap, `${filterA} and ${filterB}`);
      }
    }
  });

  test('a filter covers another exactly when it matches all that the other matches', () => {
    for (const [w, wide] of filters.entries()) {
      for (const [n, narrow] of filters.entries()) {
        const covers = selected[n]!.every((hit, t) => !hit || selected[w]![t]);
        assert.equal(filterCovers(wide, narrow), covers, `${wide} over ${narrow}`);
      }
    }
  });
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { withoutSecrets } from '../../cli/logins.ts';

for (const [url, shown] of [
  ['https://login.example.com/mqtt', 'https://login.example.com/mqtt'],
  ['https://user:secret@login.example.com:8443/mqtt', 'https://login.example.com:8443/mqtt'],
  ['https://login.example.com/keys?token=secret', 'https://login.example.com/keys?…'],
  ['http://[::1]:9000/', 'http://[::1]:9000/'],
] as const) {
  test(`a login service at ${url} is logged as ${shown}`, () => {
    assert.equal(withoutSecrets(url), shown);
  });
}

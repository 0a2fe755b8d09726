/** What a failed run says: what was broken, what led to it, and how to see it again. */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Violation } from './check.ts';
import { describe, type Event } from './history.ts';

const VIOLATIONS_SHOWN = 5;
const EVENTS_SHOWN = 60;

/** An error for people; the whole history goes to a file that it names. */
export function report(
  seed: number,
  events: readonly Event[],
  violations: readonly Violation[],
  cause: unknown,
): Error {
  const file = path.join(mkdtempSync(path.join(tmpdir(), 'sluice-fault-history-')), `seed-${seed}.ndjson`);
  writeFileSync(file, events.map((event) => `${JSON.stringify(event)}\n`).join(''));
  const shown = violations.slice(0, VIOLATIONS_SHOWN).map((violation) => {
    const about = events.flatMap((event, index) => (concerns(event, violation) ? [index] : []));
    const end = about.findLastIndex((index) => 'number' in events[index]) + 1;
    const lines = about.slice(0, end || undefined).map((index) => describe(events[index], index));
    return `${violation.text}\n  ${lines.slice(-EVENTS_SHOWN).join('\n  ')}`;
  });
  const stopped =
    cause === null ? '' : `the run stopped: ${cause instanceof Error ? cause.message : cause}\n`;
  const rounds = events.filter(({ kind }) => kind === 'start').length - 1;
  const head = `${violations.length} violations with seed ${seed} in ${rounds} rounds; the whole history is in ${file}`;
  return new Error(`${head}\n${stopped}${shown.join('\n')}`, { cause });
}

/** Starts and stops, the client's connections and requests, and everything about the message. */
function concerns(event: Event, { client, message }: Violation): boolean {
  if (!('client' in event)) return true;
  if ('number' in event) return event.topic === message?.topic && event.number === message?.number;
  return event.client === client && event.kind !== 'pubrel';
}

/** The specification's tests over a real door: the same files that run through memory, with another wire beneath. */
import { globSync } from 'node:fs';
import path from 'node:path';
import { after } from 'node:test';
import { playOver } from '../../support/broker.ts';
import { type RealDoorName, RealDoors } from '../../support/real-doors.ts';
import { SocketLinks } from '../../support/socket-links.ts';

const SPEC = path.join(import.meta.dirname, '..');
/** Each goes once round all 65 535 packet ids: minutes over sockets, and nothing that a door has a part in. */
const TOO_LONG = 'packet-ids.test.ts';

export async function specificationOver(name: RealDoorName): Promise<void> {
  const doors = await RealDoors.create();
  const links = new SocketLinks(doors.make(name));
  playOver(links);
  after(async () => {
    await links.close();
    doors.remove();
  });
  const files = globSync('v[35]/*.test.ts', { cwd: SPEC }).filter((file) => !file.endsWith(TOO_LONG));
  for (const file of files.sort()) await import(path.join(SPEC, file));
}

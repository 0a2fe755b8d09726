/** The specification's tests over a real door: the same files that run through memory, with another wire beneath. */
import { after } from 'node:test';
import { playOver } from '../../support/broker.ts';
import { type RealDoorName, RealDoors } from '../../support/real-doors.ts';
import { SocketLinks } from '../../support/socket-links.ts';

/** Below test/spec. */
const FILES = [
  'v3/01-02-data',
  'v3/03-01-connect',
  'v3/03-01-session',
  'v3/03-01-will',
  'v3/03-03-publish',
  'v3/03-03-retain',
  'v3/03-08-subscribe',
  'v3/03-12-ping-disconnect',
  'v3/04-07-topics',
  'v5/01-05-data',
  'v5/03-01-connect',
  'v5/03-01-session',
  'v5/03-01-will',
  'v5/03-02-connack',
  'v5/03-03-properties',
  'v5/03-03-publish',
  'v5/03-03-retain',
  'v5/03-04-acknowledgements',
  'v5/03-08-subscribe',
  'v5/04-03-qos',
  'v5/04-07-topics',
  'v5/04-08-shared',
  'v5/04-09-flow-control',
  'v5/04-12-auth',
];

export async function specificationOver(name: RealDoorName): Promise<void> {
  const doors = await RealDoors.create();
  const links = new SocketLinks(doors.make(name));
  playOver(links);
  after(async () => {
    await links.close();
    doors.remove();
  });
  for (const file of FILES) await import(`../${file}.test.ts`);
}

/** Aedes behind a password and a topic check, as the bench compares it: `node bench/aedes-broker.ts PORT USER PASSWORD`. */
import { createServer } from 'node:net';
import { Aedes } from 'aedes';

const [port, user, password] = process.argv.slice(2);
const isAllowed = (topic: string): boolean => topic.startsWith('bench/');

const broker = await Aedes.createBroker({
  authenticate: (_client, username, given, done) => {
    done(null, user === '' || (username === user && given?.toString() === password));
  },
  authorizePublish: (_client, packet, done) => {
    done(isAllowed(packet.topic) ? null : new Error('not allowed'));
  },
  authorizeSubscribe: (_client, subscription, done) => {
    done(null, isAllowed(subscription.topic) ? subscription : null);
  },
});
createServer(broker.handle).listen(Number(port), '127.0.0.1', () => process.stdout.write('ready\n'));

/** What only the QUIC door has: datagrams, address validation, streams, codes, TLS inside QUIC. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { copyFileSync, readFileSync } from 'node:fs';
import { after, afterEach, describe, it } from 'node:test';
import type { Doorkeeper } from '../../src/interfaces/doorkeeper.ts';
import type { Wire } from '../../src/interfaces/transport.ts';
import { readPacketHead } from '../../transports/quic/packet-head.ts';
import { RetryTokens } from '../../transports/quic/retry-tokens.ts';
import { QuicTransport, type QuicTransportOptions } from '../../transports/quic.ts';
import { RecordingDoorkeeper } from '../contract/doorkeeper.ts';
import { Certificates } from './certificates.ts';
import { QuicClient, type QuicDial } from './quic-client.ts';
import { KeptLog } from './tls-stage.ts';

const url = 'quic://127.0.0.1:0';
const certificates = await Certificates.create();
const server = await certificates.issue('server');
const other = await certificates.issue('other');
const { ca } = certificates;
after(() => certificates.remove());

const open: QuicTransport[] = [];
afterEach(() => Promise.all(open.splice(0).map((transport) => transport.close(0))));

/** A listening door, the wires that came in, and what it complained of. */
async function openDoor(options: Partial<QuicTransportOptions> = {}) {
  const wires: Wire[] = [];
  const closes: (Error | undefined)[] = [];
  const chunks: Buffer[] = [];
  const errors: Error[] = [];
  let changed = (): void => {};
  const transport = new QuicTransport({
    url,
    tls: server,
    onError: (error) => {
      errors.push(error);
      changed();
    },
    ...options,
  });
  open.push(transport);
  const { port } = await transport.listen((wire) => {
    wires.push(wire);
    changed();
    return {
      data(chunk) {
        chunks.push(Buffer.from(chunk));
        changed();
      },
      drain() {},
      closed(error) {
        closes.push(error);
        changed();
      },
    };
  });
  const until = async (condition: () => boolean): Promise<void> => {
    while (!condition()) {
      await new Promise<void>((resolve) => {
        changed = resolve;
      });
    }
  };
  return { transport, port, wires, closes, chunks, errors, until };
}

const dial = (port: number, options: QuicDial = {}) => QuicClient.dial(port, { ca, ...options });

/** Connects and says one byte, so that the stream is seen. */
async function visit(door: Awaited<ReturnType<typeof openDoor>>, options: QuicDial = {}) {
  const seen = door.wires.length;
  const client = await dial(door.port, options);
  client.write(Buffer.from('x'));
  await Promise.race([door.until(() => door.wires.length > seen), client.ended]);
  return { client, wire: door.wires[seen] };
}

describe('the QUIC door', () => {
  it('refuses another protocol by the TLS alert no_application_protocol', async () => {
    const door = await openDoor();
    await assert.rejects(dial(door.port, { protocols: ['h3'] }), /0x178/);
    await door.until(() => door.errors.length > 0);
    assert.match(door.errors[0].message, /Tls/);
    assert.equal(door.wires.length, 0);
  });

  it('shows its certificate, and a client that does not trust it goes away', async () => {
    const door = await openDoor();
    const stranger = await Certificates.create('CN=Another authority');
    await assert.rejects(dial(door.port, { ca: stranger.ca }), /handshake failed/);
    stranger.remove();
    await door.until(() => door.errors.length > 0);
    assert.equal(door.wires.length, 0);
  });

  it('hears what a client said who left at once, and no error', async () => {
    const door = await openDoor();
    const client = await dial(door.port);
    client.write(Buffer.from('the last words'));
    client.close(true, 0);
    await door.until(() => door.closes.length === 1);
    assert.equal(Buffer.concat(door.chunks).toString(), 'the last words');
    assert.equal(door.closes[0], undefined);
  });

  it('still hears him when the core had paused', async () => {
    const door = await openDoor();
    const { client, wire } = await visit(door);
    wire.pause();
    client.write(Buffer.from(' and more'));
    client.close(true, 0);
    await client.ended;
    // The door has heard of the end when it serves somebody who came later.
    await visit(door);
    assert.deepEqual(door.closes, []);
    wire.resume();
    await door.until(() => door.closes.length === 1);
    assert.match(Buffer.concat(door.chunks).toString(), / and more$/);
    assert.equal(door.closes[0], undefined);
  });

  it('closes a paused wire of a client that is gone when the door closes', async () => {
    const door = await openDoor();
    const { client, wire } = await visit(door);
    wire.pause();
    client.write(Buffer.from('unread'));
    client.close(true, 0);
    await client.ended;
    await visit(door);
    await door.transport.close(0);
    assert.equal(door.closes.length, 2);
  });

  it('closes with 0 when the core ends, and with 2 when there is no room', async () => {
    const door = await openDoor();
    for (const [reasonCode, code] of [
      [0x8e, 0],
      [0x97, 2],
    ]) {
      const { client, wire } = await visit(door);
      // Reads nothing, so that it does not close by itself.
      client.pause();
      wire.end(reasonCode);
      client.native.streamShutdown(0, 1, 0);
      client.pump();
      const { theirs } = await client.ended;
      assert.equal(theirs?.isApp, true);
      assert.equal(theirs?.errorCode, code);
    }
  });

  it('closes with 1 when the client resets the control stream', async () => {
    const door = await openDoor();
    const { client } = await visit(door);
    client.native.streamShutdown(0, 1, 9);
    client.pump();
    const { theirs } = await client.ended;
    assert.deepEqual([theirs?.isApp, theirs?.errorCode], [true, 1]);
    await door.until(() => door.closes.length === 1);
    assert.match(door.closes[0]?.message ?? '', /broke off the control stream/);
  });

  it('refuses unidirectional streams, and further ones where the core has no use for them', async () => {
    const door = await openDoor();
    const { client } = await visit(door);
    for (const [stream, code] of [
      [4, 151],
      [2, 131],
      [8, 151],
    ]) {
      client.native.streamSend(stream, Buffer.from('hello'), false);
      client.pump();
      while (!refusal(client, stream)) await client.arrived();
      const reason = refusal(client, stream) ?? '';
      assert.ok(reason === `StreamStopped(${code})` || reason.startsWith('InvalidStreamState'), reason);
    }
    client.write(Buffer.from('still here'));
    await door.until(() => Buffer.concat(door.chunks).toString() === 'xstill here');
    assert.equal(door.wires.length, 1);
    assert.deepEqual(door.errors, []);
  });

  it('lets a client open as many further streams as it is set to, and again when they are over', async () => {
    const door = await openDoor({ dataStreamsMax: 2 });
    const { client } = await visit(door);
    const streamsLeft = () =>
      (client.native as unknown as { peerStreamsLeftBidi(): number }).peerStreamsLeftBidi();
    // The first is the control stream.
    assert.equal(streamsLeft(), 2);
    for (let count = 0; count < 20; count++) {
      client.openStream().write(Buffer.from('refused, for the core takes none'));
      while (streamsLeft() === 0) await client.arrived();
    }
  });

  it('leaves a stream that comes before the first where it is until that is there', async () => {
    const order: string[] = [];
    const door = await openDoor();
    const client = await dial(door.port);
    const early = client.openStream();
    early.write(Buffer.from('early'));
    await visit(door);
    assert.equal(door.wires.length, 1, 'of the other client');
    early.onClosed(() => order.push(`closed with ${early.resetCode}`));
    client.write(Buffer.from('first'));
    await door.until(() => door.wires.length === 2);
    while (order.length === 0) await client.arrived();
    assert.deepEqual(order, [`closed with ${151}`]);
  });

  it('does not serve datagrams', async () => {
    const door = await openDoor();
    const { client } = await visit(door);
    assert.equal(client.maxDatagramBytes(), null);
  });

  it('lets a client resume, but takes nothing from it before the handshake is done', async () => {
    const door = await openDoor();
    const { client } = await visit(door);
    while (client.native.session() === null) await client.arrived();
    const session = client.native.session()!;
    client.close(true, 0);
    const again = await QuicClient.start(door.port, { ca, session, earlyData: true });
    assert.equal(again.native.isInEarlyData(), false);
    again.write(Buffer.from('y'));
    await door.until(() => door.wires.length === 2);
    assert.equal(again.native.isResumed(), true);
    again.close(true, 0);
  });

  it('serves the new certificate after a reload, and keeps the old one when the new files are bad', async () => {
    const cert = certificates.file('live.pem', readFileSync(server.cert, 'utf8'));
    const key = certificates.file('live.key', readFileSync(server.key, 'utf8'));
    const door = await openDoor({ tls: { cert, key } });
    const { client: early } = await visit(door);
    const subject = async () => {
      const client = await dial(door.port);
      const [der] = client.native.peerCertChain()!;
      client.close(true, 0);
      return Buffer.from(der).includes('other') ? 'other' : 'server';
    };
    assert.equal(await subject(), 'server');
    copyFileSync(other.cert, cert);
    assert.throws(() => door.transport.reload(), /tls\.key.*does not belong/);
    assert.equal(await subject(), 'server');
    copyFileSync(other.key, key);
    door.transport.reload();
    assert.equal(await subject(), 'other');
    early.write(Buffer.from('still here'));
    await door.until(() => Buffer.concat(door.chunks).toString().endsWith('still here'));
  });

  it('goes on with the control stream, however slow, while a data stream is paused', async () => {
    let receivedBytes = 0;
    let changed = (): void => {};
    const transport = new QuicTransport({ url, tls: server });
    open.push(transport);
    const { port } = await transport.listen(() => ({
      data({ length }) {
        receivedBytes += length;
        changed();
      },
      drain() {},
      closed() {},
      stream(wire) {
        wire.pause();
        return { data() {}, drain() {}, closed() {} };
      },
    }));
    const client = await dial(port);
    client.write(Buffer.from('x'));
    (await client.openStream()).write(Buffer.alloc(200_000));
    for (let sentBytes = 1; sentBytes < 300_000; sentBytes += 1_000) {
      client.write(Buffer.alloc(1_000));
      while (receivedBytes < sentBytes + 1_000) {
        await new Promise<void>((resolve) => {
          changed = resolve;
        });
      }
    }
  });
});

/** Why nothing can be written to a stream; null: it can. */
function refusal(client: QuicClient, stream: number): string | null {
  try {
    client.native.streamWritable(stream, 1);
    return null;
  } catch (error) {
    return (error as Error).message;
  }
}

describe('QUIC client certificates', () => {
  const mutual = { ...server, ca, requestCert: 'required', useCertAsUsername: 'cn' } as const;

  it('name the user', async () => {
    const door = await openDoor({ tls: mutual });
    const { wire } = await visit(door, { pair: other });
    assert.equal(wire.peer.username, 'other');
  });

  it('name the user again when the session is resumed', async () => {
    const door = await openDoor({ tls: mutual });
    const { client } = await visit(door, { pair: other });
    while (client.native.session() === null) await client.arrived();
    const { wire, client: again } = await visit(door, { pair: other, session: client.native.session()! });
    // Whether the engine resumed it or not, nobody comes in without a name.
    assert.equal(wire.peer.username, 'other', `resumed: ${again.native.isResumed()}`);
  });

  it('are required, signed by the authority, in force, for clients, and with one name', async () => {
    const log = new KeptLog();
    const door = await openDoor({ tls: mutual, log });
    const stranger = await Certificates.create('CN=Another authority');
    const yesterday = new Date(Date.now() - 3_600_000);
    const refused: [string, QuicDial['pair']][] = [
      ['none', undefined],
      ['of another authority', await stranger.issue('theirs')],
      ['expired', await certificates.issue('late', { notAfter: yesterday })],
      ['for servers only', await certificates.issue('server-only', { usages: ['1.3.6.1.5.5.7.3.1'] })],
      ['without a name', await certificates.issue('nameless', { subject: [{ O: ['nobody'] }] })],
    ];
    for (const [what, pair] of refused) {
      const client = await dial(door.port, { pair }).catch(() => null);
      client?.write(Buffer.from('x'));
      // In TLS 1.3 the client is through before the server has judged.
      const end = await client?.ended;
      assert.equal(door.wires.length, 0, what);
      if (end !== undefined) assert.equal(end.theirs?.isApp, false, what);
    }
    stranger.remove();
    const [{ fields }] = await log.until('tls.client_refused');
    assert.match(String(fields.problem), /gives no user name/);
  });

  const impossible: [string, object, RegExp][] = [
    ['optional certificates', { requestCert: 'optional', ca }, /requestCert.*optional/],
    ['revocation lists', { ...mutual, crl: ca }, /tls\.crl/],
    ['cipher lists', { ciphers: 'TLS_AES_128_GCM_SHA256' }, /tls\.ciphers/],
    ['stapling', { ocspResponse: ca }, /tls\.ocspResponse/],
    ['names', { sni: [{ name: 'a.example', ...other }] }, /tls\.sni/],
    ['TLS 1.2', { maxVersion: 'TLSv1.2' }, /tls\.maxVersion/],
  ];
  for (const [what, more, why] of impossible) {
    it(`are not served with ${what}, and the error says so`, () => {
      assert.throws(() => new QuicTransport({ url, tls: { ...server, ...more } }), why);
    });
  }
});

describe('strangers at the QUIC door', () => {
  it('are not heard of by the doorkeeper before their address is known to be theirs', async () => {
    const keeper = new RecordingDoorkeeper();
    const door = await openDoor({ doorkeeper: keeper });
    const socket = createSocket('udp4');
    socket.bind(0, '127.0.0.1');
    await once(socket, 'listening');
    // A first packet: what is inside is not looked at without a token.
    const initial = Buffer.concat([
      Buffer.from([0xc0, 0, 0, 0, 1, 8]),
      randomBytes(8),
      Buffer.from([8]),
      randomBytes(8),
      Buffer.from([0]),
      randomBytes(1_300),
    ]).subarray(0, 1_200);
    socket.send(initial, door.port, '127.0.0.1');
    const [retry] = (await once(socket, 'message')) as [Buffer];
    assert.equal(retry[0] & 0xf0, 0xf0, 'a Retry packet');
    assert.ok(retry.length < initial.length, 'no amplification');
    // A version from the future.
    socket.send(
      Buffer.concat([Buffer.from([0xc0, 0x7a, 1, 2, 3]), initial.subarray(5)]),
      door.port,
      '127.0.0.1',
    );
    const [negotiation] = (await once(socket, 'message')) as [Buffer];
    assert.equal(negotiation.readUInt32BE(1), 0, 'a Version Negotiation packet');
    // Too small to be answered, a token that is nobody's, and plain rubbish.
    socket.send(initial.subarray(0, 1_199), door.port, '127.0.0.1');
    for (let n = 0; n < 300; n++) socket.send(randomBytes(1 + n * 4), door.port, '127.0.0.1');
    socket.close();
    await visit(door);
    assert.equal(keeper.visits.length, 1);
    assert.deepEqual(door.errors, []);
  });

  it('are closed when their handshake takes too long, and the doorkeeper hears that they left', async () => {
    const keeper = new RecordingDoorkeeper();
    const door = await openDoor({ tls: { ...server, handshakeTimeoutSeconds: 0.02 }, doorkeeper: keeper });
    const client = await QuicClient.start(door.port, { ca });
    // Answers the Retry, and then nothing.
    await client.arrived();
    client.mute();
    await door.until(() => door.errors.length > 0);
    assert.match(door.errors[0].message, /handshake did not come within 0\.02 s/);
    assert.equal(keeper.visits[0].lefts, 1);
    client.abort();
  });

  it('are closed when they open no stream', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const door = await openDoor();
    const client = await dial(door.port);
    // A turn of the server's, so that its handshake is done too.
    while (!door.errors.length) {
      t.mock.timers.tick(1_000);
      await new Promise(setImmediate);
    }
    assert.match(door.errors[0].message, /first stream did not come within 10 s/);
    client.abort();
  });

  it('who are turned away are not counted again for the packets they repeat', async () => {
    let knocks = 0;
    const doorkeeper: Doorkeeper = {
      knock() {
        knocks++;
        return null;
      },
    };
    const door = await openDoor({ doorkeeper });
    await assert.rejects(dial(door.port, { handshakeMs: 1_500 }));
    assert.equal(knocks, 1);
  });
});

describe('the heads of QUIC packets', () => {
  it('are read or refused, and never read beyond their end', () => {
    const long = Buffer.concat([
      Buffer.from([0xc3, 0, 0, 0, 1, 2, 0xaa, 0xbb, 1, 0xcc, 3]),
      Buffer.from('tokrest.......'),
    ]);
    const head = readPacketHead(long)!;
    assert.equal(head.isInitial, true);
    assert.equal(head.dcid.toString('hex'), 'aabb');
    assert.equal(head.scid.toString('hex'), 'cc');
    assert.equal(head.token.toString(), 'tok');
    for (let length = 0; length < long.length; length++) {
      const cut = readPacketHead(long.subarray(0, length));
      assert.ok(cut === null || cut.token.length === 3);
    }
    for (let n = 0; n < 20_000; n++) {
      const bytes = randomBytes(n % 80);
      const read = readPacketHead(bytes);
      assert.ok(read === null || read.dcid.length <= 20);
    }
  });
});

describe('Retry tokens', () => {
  const [dcid, scid] = [randomBytes(8), randomBytes(16)];

  it('are good for the client they were made for, for a while', () => {
    let now = 5_000;
    const tokens = new RetryTokens(() => now);
    const token = tokens.make('192.0.2.1 5', dcid, scid);
    assert.deepEqual(tokens.check('192.0.2.1 5', token, scid), dcid);
    assert.equal(tokens.check('192.0.2.1 6', token, scid), null);
    assert.equal(tokens.check('192.0.2.1 5', token, dcid), null);
    assert.equal(new RetryTokens(() => now).check('192.0.2.1 5', token, scid), null);
    for (let bit = 0; bit < token.length * 8; bit += 5) {
      const bent = Buffer.from(token);
      bent[bit >> 3] ^= 1 << (bit & 7);
      assert.equal(tokens.check('192.0.2.1 5', bent, scid), null);
    }
    assert.equal(tokens.check('192.0.2.1 5', token.subarray(0, 10), scid), null);
    now += 15_001;
    assert.equal(tokens.check('192.0.2.1 5', token, scid), null);
  });
});

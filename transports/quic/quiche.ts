/**
 * The QUIC engine: Cloudflare's quiche, as `@matrixai/quic` builds it for Node. Only its native part is used, by the few calls below; what that
 * package wraps around it throws into the process what a peer did wrong (docs/decisions/0017-quic.md).
 */
import { createRequire } from 'node:module';
import { DoorUnavailable } from '../../src/errors.ts';

/** An IP address and a port, as the engine tells paths apart. */
export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** Where a packet came from and where it arrived. */
export interface RecvInfo {
  readonly from: HostPort;
  readonly to: HostPort;
}

type Numbers =
  | 'setMaxIdleTimeout'
  | 'setMaxRecvUdpPayloadSize'
  | 'setMaxSendUdpPayloadSize'
  | 'setInitialMaxData'
  | 'setInitialMaxStreamDataBidiLocal'
  | 'setInitialMaxStreamDataBidiRemote'
  | 'setInitialMaxStreamDataUni'
  | 'setInitialMaxStreamsBidi'
  | 'setInitialMaxStreamsUni'
  | 'setMaxStreamWindow'
  | 'setMaxConnectionWindow'
  | 'setActiveConnectionIdLimit';

/** Settings of connections to come: bytes, milliseconds and counts. */
export interface QuicheConfig extends Readonly<Record<Numbers, (value: number) => void>> {
  grease(on: boolean): void;
  enableEarlyData(): void;
  setApplicationProtos(names: string[]): void;
  setDisableActiveMigration(on: boolean): void;
  enableDgram(on: boolean, receiveMax: number, sendMax: number): void;
}

/** Why a connection ended. */
export interface QuicheError {
  /** An application error code; otherwise one of QUIC, or 0x100 and a TLS alert. */
  readonly isApp: boolean;
  readonly errorCode: number;
  readonly reason: Uint8Array;
}

interface QuichePackets {
  recv(datagram: Uint8Array, info: RecvInfo): number;
  send(into: Uint8Array): readonly [bytes: number, info: unknown] | null;
  timeout(): number | null;
  onTimeout(): void;
  close(isApp: boolean, code: number, reason: Uint8Array): unknown;
}

interface QuicheStreams {
  streamRecv(stream: number, into: Uint8Array): readonly [bytes: number, isLast: boolean] | null;
  streamSend(stream: number, bytes: Uint8Array, isLast: boolean): number | null;
  streamShutdown(stream: number, direction: number, code: number): unknown;
  streamWritable(stream: number, bytes: number): boolean;
  streamReadable(stream: number): boolean;
  readable(): Iterable<number>;
}

interface QuicheHandshake {
  applicationProto(): Uint8Array;
  /** Certificates in DER, the peer's own first. */
  peerCertChain(): Uint8Array[] | null;
  session(): Uint8Array | null;
  setSession(session: Uint8Array): void;
  isEstablished(): boolean;
  isResumed(): boolean;
  isInEarlyData(): boolean;
}

interface QuicheEnding {
  isDraining(): boolean;
  isClosed(): boolean;
  isTimedOut(): boolean;
  peerError(): QuicheError | null;
  localError(): QuicheError | null;
}

/** Calls answer null where there is nothing to do, and throw an Error whose message is the name of quiche's error. */
export interface QuicheConnection extends QuichePackets, QuicheStreams, QuicheHandshake, QuicheEnding {}

export interface Quiche {
  readonly Config: {
    /** Certificates and keys are PEM; with `verifyPeer` a peer without a certificate that one of `ca` signed fails the handshake. */
    withBoringSslCtx(
      verifyPeer: boolean,
      verifyAllowFail: boolean,
      ca: Uint8Array | null,
      keys: Uint8Array[] | null,
      certs: Uint8Array[] | null,
      signatureAlgorithms: string | null,
    ): QuicheConfig;
  };
  readonly Connection: {
    accept(
      scid: Uint8Array,
      originalDcid: Uint8Array | null,
      local: HostPort,
      remote: HostPort,
      config: QuicheConfig,
    ): QuicheConnection;
    connect(
      serverName: string | null,
      scid: Uint8Array,
      local: HostPort,
      remote: HostPort,
      config: QuicheConfig,
    ): QuicheConnection;
  };
  readonly Shutdown: { readonly Read: number; readonly Write: number };
  versionIsSupported(version: number): boolean;
  negotiateVersion(scid: Uint8Array, dcid: Uint8Array, into: Uint8Array): number;
  retry(
    scid: Uint8Array,
    dcid: Uint8Array,
    newScid: Uint8Array,
    token: Uint8Array,
    version: number,
    into: Uint8Array,
  ): number;
}

/** What quiche sends at most in a datagram: fits the paths of the Internet with room for tunnels. */
export const DATAGRAM_BYTES_MAX = 1_350;

/** Of what the loader says. */
const PROBLEM_CHARACTERS_MAX = 200;

/** Packages that hold the engine for this machine, best first. */
function packages(): string[] {
  const { platform, arch } = process;
  const names = [`@matrixai/quic-${platform}-${arch}`];
  if (platform === 'darwin') names.push('@matrixai/quic-darwin-universal');
  return names;
}

/**
 * Loads the engine.
 * @param url the listener, for the error
 * @throws DoorUnavailable when it is not installed, or not made for this machine
 */
export function loadQuiche(url: string): Quiche {
  const require = createRequire(import.meta.url);
  const names = packages();
  const problems: string[] = [];
  for (const name of names) {
    try {
      return require(name) as Quiche;
    } catch (error) {
      problems.push((error as Error).message.split('\n')[0].slice(0, PROBLEM_CHARACTERS_MAX));
    }
  }
  throw new DoorUnavailable(
    url,
    `the QUIC engine cannot be loaded (${problems.join('; ')})`,
    `Install ${names.join(' or ')}, which there is for some machines only, or take the listener out`,
  );
}

import type { PacketStream } from '../connection/packet-stream.ts';

/** A QoS 0 PUBLISH without DUP and RETAIN. */
const PLAIN_PUBLISH = 0x30;

/**
 * The short way for a QoS 0 PUBLISH to the topic that the stream used last: it joins the run of its neighbours, which
 * is delivered as one piece when something else comes or the chunk ends. False: the packet needs the long way.
 */
export function extendRun(
  stream: PacketStream,
  buffer: Buffer,
  start: number,
  bodyStart: number,
  end: number,
): boolean {
  if (buffer[start] !== PLAIN_PUBLISH) return false;
  const state = stream.lastTopic;
  if (state === null || !state.allowed) return false;
  if (state.route.groups.length > 0 || state.route.hold !== null) return false;
  const { bytes } = state;
  const topicEnd = bodyStart + 2 + bytes.length;
  if (topicEnd > end || ((buffer[bodyStart] << 8) | buffer[bodyStart + 1]) !== bytes.length) return false;
  const v5 = stream.version === 5;
  // Properties need a look; their absence is one zero byte.
  if (v5 && (topicEnd === end || buffer[topicEnd] !== 0)) return false;
  for (let index = bytes.length - 1, at = topicEnd - 1; index >= 0; index--, at--)
    if (bytes[index] !== buffer[at]) return false;
  const { run, router } = stream.broker;
  if (!run.continues(buffer, start, state.route)) {
    stream.broker.endRun();
    // Within a run nothing changes rights or subscriptions: asked once, at its start.
    const { session } = stream.connection;
    if (session === null || state.generation !== router.generation || state.route.generation < 0)
      return false;
    if (stream.door.limits.messageExpiryMaxSeconds > 0) return false;
    run.begin(buffer, start, v5, state.route, session);
  }
  run.add(end);
  return true;
}

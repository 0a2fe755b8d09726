/** What the contract's tests need to play on a QUIC door. */
import type { Transport, WireEvents } from '../../src/interfaces/transport.ts';

/** A stream is not seen before its first byte: the clients of the contract send one, and its wires do not hear of it. */
export function withoutFirstByte(inner: Transport): Transport {
  return {
    listen: (accept) =>
      inner.listen((wire): WireEvents => {
        const events = accept(wire);
        let isFirst = true;
        return {
          data(chunk) {
            const rest = isFirst ? chunk.subarray(1) : chunk;
            isFirst = false;
            if (rest.length > 0) events.data(rest);
          },
          drain: () => events.drain(),
          closed: (error) => events.closed(error),
          stream: (further) => events.stream?.(further) ?? null,
        };
      }),
    close: (graceMs) => inner.close(graceMs),
  };
}

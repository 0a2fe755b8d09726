/** The TCP door as it is on a Node that keeps libuv's handles to itself. */
import type { Address, Wire, WireEvents } from '../../src/interfaces/transport.ts';
import { TcpTransport } from '../../transports/tcp.ts';

export class PlainTcpTransport extends TcpTransport {
  override async listen(accept: (wire: Wire) => WireEvents): Promise<Address> {
    const node = process as { binding?: unknown };
    const { binding } = node;
    node.binding = undefined;
    try {
      return await super.listen(accept);
    } finally {
      node.binding = binding;
    }
  }
}

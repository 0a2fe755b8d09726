import type { Connection } from '../connection/connection.ts';

/** The end of a QoS 2 delivery to the client (MQTT 5.0 section 4.3.3). */
export function handlePubcomp(connection: Connection, packetId: number): void {
  if (connection.session!.pubcomp(packetId)) return;
  connection.broker.log.debug('pubcomp.unknown', { ...connection.logFields, packetId });
}

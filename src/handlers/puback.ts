import type { Connection } from '../connection/connection.ts';

/** The end of a QoS 1 delivery to the client (MQTT 5.0 section 4.3.2). */
export function handlePuback(connection: Connection, packetId: number): void {
  if (connection.session!.puback(packetId)) return;
  connection.broker.log.debug('puback.unknown', { ...connection.logFields, packetId });
}

/** What the core tells the operator. `event` is a stable dotted name; fields carry clientId, username, address, door where known. Types only. */
export interface Log {
  debug(event: string, fields?: object): void;
  info(event: string, fields?: object): void;
  warn(event: string, fields?: object): void;
  error(event: string, fields?: object): void;
}

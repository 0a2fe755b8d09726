/** The errors Sluice raises on purpose. Anything else that is thrown is a defect. */

/** A peer broke the protocol, or asked for what is not to be had. Carries what goes back on the wire. */
export class ProtocolError extends Error {
  /** MQTT 5 reason code for DISCONNECT, CONNACK or an acknowledgement (section 2.4). */
  readonly reasonCode: number;
  constructor(reasonCode: number, message: string) {
    super(message);
    this.name = 'ProtocolError';
    this.reasonCode = reasonCode;
  }
}

/** Configuration, a file or a flag that cannot be used. Says what is wrong, where, and what would be right. */
export class ConfigError extends Error {
  /** The option or file, e.g. `listeners[0].tls.key` or `config/acl:12`. */
  readonly where: string;
  /** What would be right, in the imperative. */
  readonly remedy: string;
  constructor(where: string, problem: string, remedy: string) {
    super(`${where}: ${problem}. ${remedy}`);
    this.name = 'ConfigError';
    this.where = where;
    this.remedy = remedy;
  }
}

/** What a door needs is not installed or does not load here: it stays shut, which is no reason for the others to. */
export class DoorUnavailable extends ConfigError {}

/** Longest part of a client's text that goes into a message, in characters. */
const QUOTE_CHARACTERS_MAX = 100;

/** A client's text for a message: quoted, escaped and cut, because reason strings and log lines have bounds. */
export function quoted(text: string): string {
  return JSON.stringify(
    text.length > QUOTE_CHARACTERS_MAX ? `${text.slice(0, QUOTE_CHARACTERS_MAX)}…` : text,
  );
}

/** The option table as people read it: rows for `--help`, Markdown for docs/config.md. */
import { describeFormat } from './formats.ts';
import { HOLD_OPTIONS } from './hold.ts';
import { LISTENER_OPTIONS } from './listener-options.ts';
import type { Option } from './option.ts';
import { envName, flagName, OPTIONS } from './options.ts';
import { SNI_OPTIONS } from './tls.ts';

export interface OptionRow {
  readonly key: string;
  /** What the value may be. */
  readonly accepts: string;
  readonly defaultText: string;
  readonly doc: string;
  readonly env: string;
  readonly flag: string;
  /** A flag of this option may stand without a value, meaning true. */
  readonly isSwitch: boolean;
}

/** One row for every option, in the order of the table. */
export function describeOptions(): OptionRow[] {
  return OPTIONS.map(toRow);
}

/** The text of docs/config.md. */
export function renderMarkdown(): string {
  const rows = describeOptions();
  const sections = new Map<string, OptionRow[]>();
  for (const row of rows) {
    const name = row.key.includes('.') ? row.key.slice(0, row.key.indexOf('.')) : 'top level';
    sections.set(name, [...(sections.get(name) ?? []), row]);
  }
  const parts = [INTRODUCTION];
  for (const [name, of] of sections)
    parts.push(`## ${name === 'top level' ? 'Top level' : name}\n\n${table(of)}`);
  const listenerRows = LISTENER_OPTIONS.map(toRow);
  parts.push(`## listeners[]\n\n${LISTENER_INTRODUCTION}\n\n${plainTable(listenerRows)}`);
  parts.push(`## listeners[].tls.sni[]\n\n${SNI_INTRODUCTION}\n\n${plainTable(SNI_OPTIONS.map(toRow))}`);
  parts.push(`## hold[]\n\n${HOLD_INTRODUCTION}\n\n${plainTable(HOLD_OPTIONS.map(toRow))}`);
  return `${parts.join('\n\n')}\n`;
}

const INTRODUCTION = `# Configuration

This page is printed from the option table in \`config/options.ts\` (\`sluice config-docs\`), the same that \`sluice serve --help\` shows.

\`sluice serve -c FILE\` reads YAML (JSON is YAML). A value may come from four places; a later one replaces an earlier one:
the default, the file, the environment, the command line. File paths are relative to the working directory, not to the
configuration file. Unknown keys, wrong types and values out of range stop the start; \`sluice check -c FILE\` looks for all
of them, and at the files that are named, without starting anything.

The configuration is read at the start only: check a change, then restart. Files that it names (passwords, rules, bans,
keys, certificates, revocation lists) are read again when they change, and on \`SIGHUP\`, which says
\`config.not_reloaded\` where the configuration itself has changed.

Flags are the key behind two dashes: \`--limits.queueMessagesMax 500\`, or \`--limits.queue-messages-max 500\`. Every key has a
variable too: \`SLUICE_LIMITS_QUEUE_MESSAGES_MAX=500\`.

Without a file the broker runs in local-only mode: listeners on loopback, development certificates in \`certs/\` (made when
missing), anonymous clients allowed. They are allowed only as long as every listener is on loopback and no password file is
named. With a file they have to be allowed explicitly, or a password file be given.

\`config/sluice.example.yaml\` is a commented example to start from.`;

const LISTENER_INTRODUCTION = `The keys of one listener. Where a key has the name of a limit it replaces that limit for the connections of this
listener. Default ports: mqtt 1883, mqtts 8883, ws 8083, wss 8084, wt 8443 and quic 14567 (UDP); default path of ws, wss and wt: \`/mqtt\`.`;

const SNI_INTRODUCTION = `The keys of one entry. A name that is not listed gets the certificate of \`tls.cert\`; an exact name goes before a wildcard.
More of TLS in [tls.md](tls.md).`;

const HOLD_INTRODUCTION = `The keys of one entry. A message that nobody gets is held in the order it came, also over a restart, and goes to the first
session that subscribes to it and may receive it; from then on messages go there as usual, until the last subscriber has
left. Retained messages are not held: they wait for their subscribers already. A publisher with MQTT 5 is told (0x97) when
there is no room for its message.`;

function toRow(option: Option): OptionRow {
  const plain = option.default === '' ? '""' : JSON.stringify(option.default)?.replace(/^"(.+)"$/, '$1');
  return {
    key: option.key,
    accepts: describeFormat(option.format),
    defaultText: option.defaultText ?? plain,
    doc: option.doc,
    env: envName(option.key),
    flag: flagName(option.key),
    isSwitch: option.format.kind === 'boolean',
  };
}

function table(rows: OptionRow[]): string {
  const body = rows.map((r) => cells([code(r.key), r.doc, r.accepts, r.defaultText, code(r.env)]));
  return ['| key | what | accepts | default | variable |', '| --- | --- | --- | --- | --- |', ...body].join(
    '\n',
  );
}

function plainTable(rows: OptionRow[]): string {
  const body = rows.map((r) => cells([code(r.key), r.doc, r.accepts, r.defaultText]));
  return ['| key | what | accepts | default |', '| --- | --- | --- | --- |', ...body].join('\n');
}

function cells(texts: string[]): string {
  return `| ${texts.map((text) => text.replaceAll('|', '\\|')).join(' | ')} |`;
}

function code(text: string): string {
  return `\`${text}\``;
}

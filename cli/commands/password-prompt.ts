/** Gets a password from whoever runs the command, without it being seen or kept. */
import { emitKeypressEvents, type Key } from 'node:readline';
import { ConfigError } from '../../src/errors.ts';

/** The streams of a command; a terminal is told by `isTTY`. */
export interface CommandIo {
  readonly stdin: NodeJS.ReadStream;
  readonly stdout: NodeJS.WritableStream;
  readonly stderr: NodeJS.WritableStream;
}

/** The person pressed Ctrl-C, or Ctrl-D on an empty line. */
export class Cancelled extends Error {
  constructor() {
    super('cancelled');
    this.name = 'Cancelled';
  }
}

/** A line of standard input that is longer than this is no password. */
const LINE_BYTES_MAX = 65_536;

/**
 * Asks for one line per prompt on the terminal, with echo off from the first to the last, so that what is typed or
 * pasted ahead is neither shown nor lost. Backspace, Ctrl-U, Ctrl-C and Ctrl-D work; other control keys do nothing.
 * @throws Cancelled
 */
export async function askHidden(io: CommandIo, prompts: readonly string[]): Promise<Buffer[]> {
  const answers: Buffer[] = [];
  let typed: string[] = [];
  await onKeys(io, prompts[0], (text, key) => {
    if (key.name === 'return' || key.name === 'enter') {
      answers.push(Buffer.from(typed.join('')));
      typed = [];
      if (answers.length === prompts.length) return true;
      io.stderr.write(`\n${prompts[answers.length]}`);
    } else if (key.ctrl === true && key.name === 'd' && typed.length === 0) throw new Cancelled();
    else if (key.name === 'backspace') typed.pop();
    else if (key.ctrl === true && key.name === 'u') typed = [];
    else if (isText(text) && key.ctrl !== true && key.meta !== true) typed.push(text);
    return false;
  });
  return answers;
}

/** Asks a question on the terminal; one key answers it, and only `y` means yes. */
export async function askYesNo(io: CommandIo, question: string): Promise<boolean> {
  let yes = false;
  await onKeys(io, `${question} [y/N] `, (text) => {
    yes = text === 'y' || text === 'Y';
    return true;
  });
  return yes;
}

/**
 * The first line of standard input, as bytes, without its line end (LF or CRLF).
 * @throws ConfigError when there is none
 */
export async function readFirstLine(stdin: AsyncIterable<Buffer | string>): Promise<Buffer> {
  let bytes = Buffer.alloc(0);
  for await (const chunk of stdin) {
    bytes = Buffer.concat([bytes, Buffer.from(chunk)]);
    if (bytes.includes(10) || bytes.length > LINE_BYTES_MAX) break;
  }
  if (bytes.length === 0) {
    throw new ConfigError('standard input', 'no password came', 'Write the password and a line end to it.');
  }
  const newline = bytes.indexOf(10);
  const line = newline === -1 ? bytes : bytes.subarray(0, newline);
  return newline > 0 && line.at(-1) === 13 ? line.subarray(0, -1) : line;
}

/** Hands keys to `take` until it returns true or throws; leaves the terminal as it was in every case. */
function onKeys(
  io: CommandIo,
  prompt: string,
  take: (text: string | undefined, key: Key) => boolean,
): Promise<void> {
  const { stdin, stderr } = io;
  return new Promise((resolve, reject) => {
    const finish = (error?: Error) => {
      stdin.off('keypress', keypress);
      stdin.off('end', ended);
      stdin.setRawMode(false);
      stdin.pause();
      stderr.write('\n');
      if (error === undefined) resolve();
      else reject(error);
    };
    const keypress = (text: string | undefined, key: Key) => {
      try {
        if (key.ctrl === true && key.name === 'c') throw new Cancelled();
        if (take(text, key)) finish();
      } catch (error) {
        finish(error as Error);
      }
    };
    const ended = () => finish(new Cancelled());
    emitKeypressEvents(stdin);
    // Echo goes off before the prompt shows, or a fast typist's first letters would be seen.
    stdin.setRawMode(true);
    stdin.on('keypress', keypress);
    stdin.on('end', ended);
    stderr.write(prompt);
    stdin.resume();
  });
}

function isText(text: string | undefined): text is string {
  return text !== undefined && !/\p{Cc}/u.test(text);
}

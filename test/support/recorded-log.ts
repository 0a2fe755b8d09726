/** A log that tests read. */
import type { Log } from '../../src/interfaces/log.ts';

export interface LogLine {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly event: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

export class RecordedLog implements Log {
  readonly lines: LogLine[] = [];

  debug(event: string, fields: object = {}): void {
    this.lines.push({ level: 'debug', event, fields: { ...fields } });
  }

  info(event: string, fields: object = {}): void {
    this.lines.push({ level: 'info', event, fields: { ...fields } });
  }

  warn(event: string, fields: object = {}): void {
    this.lines.push({ level: 'warn', event, fields: { ...fields } });
  }

  error(event: string, fields: object = {}): void {
    this.lines.push({ level: 'error', event, fields: { ...fields } });
  }

  /** Every line of this event. */
  of(event: string): LogLine[] {
    return this.lines.filter((line) => line.event === event);
  }
}

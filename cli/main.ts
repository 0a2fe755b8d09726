#!/usr/bin/env node
/** The command `sluice`. Only the check of the runtime stands here: an older Node must be able to read this file. */
const NODE_MAJOR_MIN = 24;

const major = Number(process.versions.node.split('.')[0]);
if (major < NODE_MAJOR_MIN) {
  process.stderr.write(
    `sluice: needs Node ${NODE_MAJOR_MIN} or later, this is ${process.versions.node} (${process.execPath}). ` +
      'Use "npm start" or "npx sluice", which bring their own, or install a newer Node.\n',
  );
  process.exit(1);
}

// Node's pool of 64 KiB stays whole in memory as long as one message cut from it is kept: a retained message of a byte, sent between
// large ones, would cost that much.
Buffer.poolSize = 8_192;

// The module must not be loaded before the check, so a static import will not do.
import('./program.ts')
  .then(({ main }) => main(process.argv.slice(2)))
  .then(
    (code) => {
      process.exitCode = code;
    },
    (error) => {
      process.stderr.write(`sluice: ${error instanceof Error ? (error.stack ?? error.message) : error}\n`);
      process.exitCode = 1;
    },
  );

export {};

/**
 * Loaded into a broker's process before it (`node --expose-gc --import`): tells its memory on SIGUSR2. A process of an engine of its loads this, too, but without
 * that flag, and nobody asks it.
 */
const { gc } = globalThis;

process.on('SIGUSR2', () => {
  void gc!();
  void gc!();
  const { heapUsed, external, rss } = process.memoryUsage();
  process.stdout.write(`memory ${heapUsed + external} ${rss}\n`);
});

/** Loaded into a broker's process before it (`node --expose-gc --import`): tells its memory on SIGUSR2. */
const { gc } = globalThis;
if (gc === undefined) throw new Error('heap-meter.ts needs node --expose-gc');

process.on('SIGUSR2', () => {
  void gc();
  void gc();
  const { heapUsed, external, rss } = process.memoryUsage();
  process.stdout.write(`memory ${heapUsed + external} ${rss}\n`);
});

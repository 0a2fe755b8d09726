import { storeContract } from '../contract/store.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { StoreFolder } from '../support/store-folder.ts';

storeContract('SqliteStore', () => {
  const folder = new StoreFolder();
  // Times come back to the millisecond where no time passes.
  const clock = new FakeClock();
  return { open: () => folder.store({ clock }), close: () => folder.remove() };
});

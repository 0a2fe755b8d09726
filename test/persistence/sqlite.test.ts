import { storeContract } from '../contract/store.ts';
import { StoreFolder } from '../support/store-folder.ts';

storeContract('SqliteStore', () => {
  const folder = new StoreFolder();
  return { open: () => folder.store(), close: () => folder.remove() };
});

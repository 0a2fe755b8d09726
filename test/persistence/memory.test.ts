import { MemoryStore } from '../../persistence/memory.ts';
import { storeContract } from '../contract/store.ts';

storeContract('MemoryStore', () => {
  const store = new MemoryStore();
  return { open: () => store, close: async () => {} };
});

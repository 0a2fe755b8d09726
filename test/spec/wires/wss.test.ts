import { specificationOver } from './over.ts';

await specificationOver('wss');

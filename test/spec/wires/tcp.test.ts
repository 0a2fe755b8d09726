import { specificationOver } from './over.ts';

await specificationOver('tcp');

import { specificationOver } from './over.ts';

await specificationOver('unix');

/** The process of an engine: started by the broker with a socket as file descriptor 3, and gone when that is closed. */
import { Socket } from 'node:net';
import { EngineHost } from './engine-host.ts';
import { LINK_FD } from './engine-process.ts';

// The broker says when it is over: a signal to all processes of a terminal or a service comes here, too, before clients were told.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});

new EngineHost(new Socket({ fd: LINK_FD, readable: true, writable: true }), () => process.exit());

/** The disk is slow, hangs, or fails when it is asked to keep what it was given: strace stands in for it. */
import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { publish, pubrec, pubrel, subscribe, unsubscribe } from '../support/packets.ts';
import { skipUnless } from '../tools/needs.ts';
import type { FaultClient } from './harness/client.ts';
import { ProcessStage } from './harness/process-stage.ts';
import { inTime, Scene } from './harness/scene.ts';
import { Strace, whyNoStrace } from './harness/strace.ts';

/** A sync engine for applications' tests: it does nothing, says what it is told, and remembers what it was asked. */
import type { SyncEngine, SyncReport, SyncState } from "@holdfast/core";

/** A sync engine that a test steers. */
export interface FakeSyncEngine extends SyncEngine {
  /** Changes what `state` says, and tells the listeners. */
  become(change: Partial<SyncState>): void;
  /** What the next `syncNow` answers. */
  answerWith(report: SyncReport): void;
  /** Names of the methods that were called, in order. */
  readonly asked: readonly (keyof SyncEngine)[];
}

const quiet: SyncState = {
  push: "stopped",
  pull: "stopped",
  connectivity: "unknown",
  watermarks: {
    oldestUnacknowledgedAt: undefined,
    acknowledgedThrough: 0,
    receiptedSize: 0,
    owed: [],
    lastReceiptAt: undefined,
    waiting: 0,
    dead: 0,
    pulledThrough: undefined,
  },
  lastFailure: undefined,
  evidence: undefined,
};

/** Stopped, with nothing to do, until a test says otherwise. */
export function createFakeSyncEngine(): FakeSyncEngine {
  const asked: (keyof SyncEngine)[] = [];
  const listeners = new Set<(state: SyncState) => void>();
  let state = quiet;
  let report: SyncReport = {
    pushed: 0,
    pulled: 0,
    rejected: 0,
    status: "drained",
    failure: undefined,
  };
  const note = (method: keyof SyncEngine): void => {
    asked.push(method);
  };
  const become = (change: Partial<SyncState>): void => {
    state = { ...state, ...change };
    for (const listener of listeners) listener(state);
  };
  return {
    asked,
    become,
    answerWith(next) {
      report = next;
    },
    start() {
      note("start");
      become({ push: "idle", pull: "idle" });
    },
    async syncNow() {
      note("syncNow");
      return report;
    },
    async cancel() {
      note("cancel");
      become({ push: "stopped", pull: "stopped" });
    },
    state: () => state,
    subscribe(listener) {
      note("subscribe");
      listeners.add(listener);
      return () => {
        listeners.delete(listener);
      };
    },
    connectivity(connectivity) {
      note("connectivity");
      become({ connectivity });
    },
    wake() {
      note("wake");
    },
    async resume() {
      note("resume");
      become({ evidence: undefined });
    },
    async close() {
      note("close");
      become({ push: "stopped", pull: "stopped" });
    },
  };
}

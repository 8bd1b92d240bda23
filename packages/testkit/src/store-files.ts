/**
 * Whole stores for the tests of one file, each on an encrypted database of its own in a scratch folder, under a clock
 * by hand, with faults of the database to be planned.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Bytes, Crypto, Random, SqliteDriver, Timers } from "@holdfast/core";
import { createFaultPlan, type FaultPlan } from "./faulty-driver.ts";
import { createManualClock, type ManualClock } from "./manual-clock.ts";
import { createTestStore, type TestStore, type TestStoreKeys } from "./memory-store.ts";

/** What a test brings. */
export interface StoreFilesPorts {
  readonly crypto: Crypto;
  readonly random: Random;
  openFile(options: {
    readonly path: string;
    readonly pageKey: Bytes;
    readonly readOnly: boolean;
    /** Make the file; the first opening does. */
    readonly create: boolean;
  }): SqliteDriver;
}

/** A new store, not open yet, and what it lies on. */
export interface StoreFile {
  readonly test: TestStore;
  readonly clock: ManualClock;
  readonly faults: FaultPlan;
  /** File of its database. */
  readonly path: string;
}

/** How a store differs from the defaults. */
export interface StoreFileOptions {
  readonly clock?: ManualClock;
  /** By default the clock's. */
  readonly timers?: Timers;
  readonly keys?: TestStoreKeys;
}

/** Makes stores in a scratch folder of their own. */
export function createStoreFiles({ crypto, random, openFile }: StoreFilesPorts): {
  make(options?: StoreFileOptions): Promise<StoreFile>;
  /** Takes all of them away. */
  remove(): void;
} {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-stores-"));
  let files = 0;
  return {
    async make({ clock = createManualClock(), timers = clock, keys } = {}) {
      files += 1;
      const path = join(folder, `${files}.db`);
      const faults = createFaultPlan();
      let create = true;
      const openDriver = (pageKey: Bytes, { readOnly }: { readonly readOnly: boolean }) => {
        const driver = faults.over(() => openFile({ path, pageKey, readOnly, create }));
        create = false;
        return driver;
      };
      const ports = { crypto, random, clock, timers, openDriver };
      return { test: await createTestStore(ports, undefined, keys), clock, faults, path };
    },
    remove() {
      rmSync(folder, { recursive: true });
    },
  };
}

/**
 * Being alone with a store: the lease, one file instead of a file and its write-ahead log, and SQLite's exclusive
 * lock, which it gives to no connection beside which there is another.
 */
import { resolve } from "node:path";
import { HoldfastError, type Keyring, openAccepted, type SqliteDriver } from "@holdfast/core";
import { systemClock } from "./clock.ts";
import { createNodeCrypto } from "./crypto.ts";
import { becomeOneFile } from "./migration-files.ts";
import { createProcessIdentity } from "./process-identity.ts";
import { finishSwitch } from "./salvage-files.ts";
import { createStoreMedium, openKeyringAt, type StoreAccess } from "./store.ts";
import { databasePath, stateOf, type StoreLocation } from "./store-place.ts";

const crypto = createNodeCrypto();

/** The store, open. */
interface LoneStore {
  readonly driver: SqliteDriver;
  readonly keyring: Keyring;
}

/** What is to happen to a store that nobody else has open. */
export interface LoneAct<T> {
  /** With the lease held and the store as it was: refuses by throwing. */
  check(store: LoneStore): void;
  /** With everybody kept out. */
  act(store: LoneStore): T;
  /**
   * What becomes of the lease: `stay out` where the database is no longer that of the store, or soon goes. What throws
   * gives it back in any case.
   */
  readonly after: "give back" | "stay out";
}

/** Runs an act. Throws `store_busy`, and what opening and the act throw. */
export async function aloneWith<T>(
  options: StoreLocation & StoreAccess,
  storeId: string,
  { check, act, after }: LoneAct<T>,
): Promise<T> {
  const directory = resolve(options.directory);
  const state = stateOf(options);
  finishSwitch(databasePath(directory));
  const keyring = await openKeyringAt(directory, state, storeId, options);
  const medium = createStoreMedium(directory, state, storeId, false);
  const deps = { crypto, clock: systemClock, process: createProcessIdentity(), keyring, medium };
  try {
    const { driver, lease } = openAccepted(deps);
    try {
      const held = lease.tryAcquire();
      if (held.status === "busy") throw new HoldfastError("store_busy", { holder: held.holder });
      let isKept = false;
      try {
        check({ driver, keyring });
        becomeOneFile(driver);
        driver.exec("BEGIN EXCLUSIVE");
        const result = act({ driver, keyring });
        isKept = after === "stay out";
        return result;
      } finally {
        if (!isKept) {
          if (driver.inTransaction) driver.exec("ROLLBACK");
          lease.release(held.token);
        }
      }
    } finally {
      driver.close();
    }
  } finally {
    medium.close?.();
    keyring[Symbol.dispose]();
  }
}

/** Turns of the writer loop for sync: one piece of work at a time, under the store's lease. */
import type { Outbox } from "../outbox/outbox.ts";
import { HoldfastError } from "../std/errors.ts";
import { inTransaction } from "../store/sqlite-event-log.ts";
import type { StoreSession } from "../store/tenancy.ts";
import type { TenureView, Writer } from "../store/writer.ts";
import { createSyncTables, type SyncTables } from "./sync-tables.ts";

/** A session with its outbox. */
export type ReplicaSession = StoreSession & { readonly outbox: Outbox };

/** What a turn of the writer loop works with. */
export interface Turn {
  readonly session: ReplicaSession;
  readonly tables: SyncTables;
  readonly token: number;
  readonly tenure: TenureView;
  /** One transaction under the lease. */
  within<T>(work: () => T): T;
}

/** Where turns are taken. */
export interface TurnDeps {
  /** `undefined` in a store that is open for reading. */
  readonly writer: Writer | undefined;
  readonly session: () => ReplicaSession;
}

/** Runs work in a turn of its own. Rejects with `store_read_only` in a store that is open for reading. */
export function createTurn(
  deps: TurnDeps,
): <T>(work: (turn: Turn) => T | Promise<T>) => Promise<T> {
  return (work) => {
    const { writer } = deps;
    if (writer === undefined) return Promise.reject(new HoldfastError("store_read_only"));
    return writer.exclusively((_, token, tenure) => {
      const session = deps.session();
      const within = <R>(inside: () => R): R =>
        inTransaction(session.driver, () => {
          session.lease.assertHeld(token);
          return inside();
        });
      return work({ session, tables: createSyncTables(session.driver), token, tenure, within });
    });
  };
}

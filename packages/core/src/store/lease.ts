/**
 * The store's lease: which process may write. Kept as a row, so that its fencing token is checked in the very
 * transaction that writes: a holder that slept past its expiry is refused, whatever it believes.
 *
 * A lease ends by release, by expiry, or because its holder's process is gone (`isGone`). Whoever waits marks
 * the row; the holder sees the mark at its next commit and gives way.
 */
import { HoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { Clock } from "../std/ports.ts";
import { inTransaction } from "./sqlite-event-log.ts";
import type { SqliteDriver } from "./sqlite-driver.ts";

/** Names a process so that others can tell whether it still runs. */
export interface ProcessIdentity {
  readonly holder: string;
  /** Is that holder certainly gone? `false` when it cannot be told (another machine). */
  isGone(holder: string): boolean;
}

/** What one attempt at the lease answers. */
export type LeaseAttempt =
  | { readonly status: "held"; readonly token: number; readonly tookOver: string | undefined }
  | { readonly status: "busy"; readonly holder: string };

/** The right to write to a store; see the module header. */
export interface Lease {
  /** Tries once to become the holder. */
  tryAcquire(): LeaseAttempt;
  /** Inside a write transaction: throws `lease_lost` unless the token still holds; renews when due. */
  assertHeld(token: number): { readonly wanted: boolean };
  release(token: number): void;
}

interface LeaseRow {
  readonly token: number;
  readonly holder: string | null;
  readonly heartbeat_at: number;
  readonly expires_at: number;
  readonly wanted_at: number | null;
}

const leaseName = "writer";

/** The lease of the store behind a connection. */
export function createLease(deps: {
  readonly driver: SqliteDriver;
  readonly clock: Clock;
  readonly process: ProcessIdentity;
}): Lease {
  const { driver, clock } = deps;
  const select = driver.prepare(
    "SELECT token, holder, heartbeat_at, expires_at, wanted_at FROM leases WHERE name = ?",
  );
  const take = driver.prepare(
    `INSERT INTO leases (name, token, holder, acquired_at, heartbeat_at, expires_at)
     VALUES (?, ?, ?, ?, ?, ?)
     ON CONFLICT (name) DO UPDATE SET token = excluded.token, holder = excluded.holder,
       acquired_at = excluded.acquired_at, heartbeat_at = excluded.heartbeat_at,
       expires_at = excluded.expires_at, wanted_at = NULL`,
  );
  const want = driver.prepare("UPDATE leases SET wanted_at = ? WHERE name = ?");
  const renew = driver.prepare("UPDATE leases SET heartbeat_at = ?, expires_at = ? WHERE name = ?");
  const free = driver.prepare(
    "UPDATE leases SET holder = NULL, wanted_at = NULL WHERE name = ? AND token = ?",
  );
  return {
    tryAcquire: () =>
      inTransaction(driver, () => {
        const now = clock.now();
        const row = select.get<LeaseRow>(leaseName);
        const holder = row?.holder ?? null;
        // A row of our own is left where a failure took the connection and with it the token.
        const own = holder === deps.process.holder;
        const taken =
          row !== undefined &&
          holder !== null &&
          !own &&
          now < row.expires_at &&
          !deps.process.isGone(holder);
        if (taken) {
          if (row.wanted_at === null) want.run(now, leaseName);
          return { status: "busy", holder };
        }
        const token = (row?.token ?? 0) + 1;
        take.run(leaseName, token, deps.process.holder, now, now, now + limits.leaseExpiryMs);
        return { status: "held", token, tookOver: own ? undefined : (holder ?? undefined) };
      }),
    assertHeld(token) {
      const row = select.get<LeaseRow>(leaseName);
      if (row?.token !== token || row.holder === null) {
        throw new HoldfastError("lease_lost", { token, current: row?.token ?? 0 });
      }
      const now = clock.now();
      if (now >= row.heartbeat_at + limits.leaseExpiryMs / 3 || now < row.heartbeat_at) {
        renew.run(now, now + limits.leaseExpiryMs, leaseName);
      }
      return { wanted: row.wanted_at !== null };
    },
    release(token) {
      inTransaction(driver, () => free.run(leaseName, token));
    },
  };
}

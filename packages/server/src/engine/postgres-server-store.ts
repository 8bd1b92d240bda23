/**
 * The server's storage on PostgreSQL: any number of nodes work on one database. A write locks the head row of its
 * tenant's shard before it reads anything, so writes of one tenant run one after the other, whichever node they come
 * from, and a position is never visible before the one below it. Reads see one snapshot and lock nothing.
 *
 * Every transaction is bound to its tenant by row-level security, beside the tenant in every key. What the database
 * undoes of itself (deadlock, serialization failure, a lost connection before COMMIT was sent) is tried again; a
 * COMMIT whose answer did not come is not: `store_io_error`, and whoever pushed pushes again.
 */
import {
  type Crypto,
  HoldfastError,
  isHoldfastError,
  type MaybePromise,
  type Timers,
} from "@holdfast/core";
import {
  isLost,
  isUndone,
  type PostgresConnection,
  type PostgresDriver,
} from "./postgres-driver.ts";
import { createHints, type Hints, type HintTimes } from "./postgres-hints.ts";
import { createPostgresReads } from "./postgres-reads.ts";
import { setTenant } from "./postgres-session.ts";
import { createTransaction, type HeadRow } from "./postgres-transaction.ts";
import { createPostgresWrites, sendHead } from "./postgres-writes.ts";
import type { SeenHead, ServerReads, ServerStore, ServerWrites } from "./server-store.ts";
import { together } from "./together.ts";

/** What the storage is made of. Its connections are in the server's role (`postgres-session.ts`). */
export interface PostgresServerStoreDeps {
  readonly crypto: Pick<Crypto, "sha256">;
  readonly driver: PostgresDriver;
  /** A copy of the database that may lag behind. */
  readonly replica?: PostgresDriver;
  /** Judges in a write, before it commits, whether the database keeps what was promised; throws when not. */
  readonly guard?: (connection: PostgresConnection) => Promise<void>;
  /** Tells other nodes of events, and hears of theirs; absent: there are no others. */
  readonly hints?: { readonly timers: Timers; readonly times: HintTimes };
}

/** Tries of one transaction that the database undoes. */
const triesMax = 5;

/** A store over a database whose tables are there (`migratePostgres`). Closing it closes its drivers. */
export function createPostgresServerStore(deps: PostgresServerStoreDeps): ServerStore {
  const { driver, replica, guard } = deps;
  const read: ServerStore["read"] = async (tenant, work, seen) => {
    if (replica !== undefined && seen !== undefined) {
      const answer = await readBehind(replica, tenant, work, seen);
      if (answer !== undefined) return answer.value;
    }
    return repeated(() => driver.lend((connection) => inSnapshot(connection, tenant, work)));
  };
  const hints =
    deps.hints === undefined ? undefined : createHints({ ...deps.hints, driver, store: { read } });
  return {
    capabilities: { isolated: true, replica: replica !== undefined },
    read,
    ...(hints === undefined ? {} : { watch: hints.watch }),
    write: (tenant, work) =>
      repeated(() => driver.lend((connection) => inWrite(deps, hints, connection, tenant, work))),
    check: () =>
      driver.lend(async (connection) => {
        await connection.rows("SELECT 1 AS one");
        await guard?.(connection);
      }),
    async close() {
      await hints?.close();
      await replica?.close();
      await driver.close();
    },
  };
}

/** Runs a transaction again while it certainly left nothing behind. */
async function repeated<T>(run: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await run();
    } catch (error) {
      if (tries === triesMax || !(isUndone(error) || isLost(error))) throw error;
    }
  }
}

async function inSnapshot<T>(
  connection: PostgresConnection,
  tenant: string | undefined,
  work: (reads: ServerReads) => MaybePromise<T>,
): Promise<T> {
  const begin = `BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; ${setTenant(tenant)}`;
  const reads = createPostgresReads(createTransaction(connection, tenant, false));
  try {
    // Sent with the first reads: before it no tenant is set, and without one no row is there.
    const [, value] = await together(
      () => connection.exec(begin),
      () => work(reads),
    );
    return value;
  } finally {
    await end(connection);
  }
}

/** What a lagging copy answers; `undefined`: it does not hold what the caller has seen, or is away. */
async function readBehind<T>(
  replica: PostgresDriver,
  tenant: string | undefined,
  work: (reads: ServerReads) => MaybePromise<T>,
  seen: SeenHead,
): Promise<{ readonly value: T } | undefined> {
  const holds = async (reads: ServerReads): Promise<boolean> => {
    const row = tenant === undefined ? undefined : await reads.tenant(tenant);
    if (row === undefined) return false;
    const { log, events, leaves } = await reads.head(row.shard);
    // Sizes of another log say nothing about this one.
    const sameLog = row.shard === seen.shard && log === seen.log;
    return sameLog && events >= seen.events && leaves >= seen.leaves;
  };
  try {
    return await replica.lend((connection) =>
      inSnapshot(connection, tenant, async (reads) =>
        (await holds(reads)) ? { value: await work(reads) } : undefined,
      ),
    );
  } catch (error) {
    if (isHoldfastError(error) && error.code.startsWith("store_")) return undefined;
    throw error;
  }
}

async function inWrite<T>(
  { crypto, guard }: PostgresServerStoreDeps,
  hints: Hints | undefined,
  connection: PostgresConnection,
  tenant: string | undefined,
  work: (tx: ServerWrites) => MaybePromise<T>,
): Promise<T> {
  const tx = createTransaction(connection, tenant, true);
  let result: T;
  let before: HeadRow | undefined;
  try {
    // Sent with the lock on the head row: one round trip.
    [, before] = await together(
      () => connection.exec(`BEGIN; ${setTenant(tenant)}`),
      () => tx.head(),
      () => tx.shown(),
    );
    const reads = createPostgresReads(tx);
    result = await work({ ...reads, ...createPostgresWrites(crypto, tx, reads) });
    await sendHead(tx, before);
    await tx.settle();
    await guard?.(connection);
  } catch (error) {
    await tx.settle().catch(() => undefined);
    await end(connection);
    throw error;
  }
  const head = await tx.head();
  await commit(connection);
  // Other nodes know the tenant by the shard that it was in: they look when that one is named.
  if (before !== undefined && head?.shard !== before.shard) hints?.grown(before.shard);
  if (head !== undefined && head.events > (before?.events ?? 0)) hints?.grown(head.shard);
  return result;
}

/** Ends a transaction without a trace. A connection that cannot even do that is not lent again. */
async function end(connection: PostgresConnection): Promise<void> {
  await connection.exec("ROLLBACK").catch(() => undefined);
}

async function commit(connection: PostgresConnection): Promise<void> {
  let warnings: readonly string[];
  try {
    warnings = await connection.exec("COMMIT");
  } catch (error) {
    throw isLost(error) ? unknownOutcome(error) : error;
  }
  // "Canceling wait for synchronous replication": committed here, and perhaps nowhere else.
  if (warnings.length > 0) throw unknownOutcome(undefined);
}

function unknownOutcome(cause: unknown): HoldfastError {
  return new HoldfastError("store_io_error", { result: "commit" }, { cause });
}

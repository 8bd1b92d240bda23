/** A tenant's server logs in PostgreSQL: the newest one, which its head row counts, and those before it. */
import { type Bytes, HoldfastError, type HashSpan, invariant } from "@holdfast/core";
import { setOperator } from "./postgres-session.ts";
import type { HeadRow, PostgresTransaction } from "./postgres-transaction.ts";
import type { CheckpointRow, ServerReads, ShardRow } from "./server-store.ts";
import { owned, rangeOf, shownLogIn } from "./store-rows.ts";

/** Where leaves, tiles and checkpoints of one server log lie. */
interface LogKey {
  readonly tenant: string;
  readonly shard: string;
  readonly log: number;
}

/** What is known of a shard that the tenant is in, or was. */
type LogCounters = Pick<HeadRow, "shard" | "log" | "events" | "leaves" | "range">;

/**
 * The head row, where the shard is the tenant's newest. Throws `server_log_sealed` where it was before, and
 * `server_put_back` where its newest log must not be signed any more.
 */
export async function writableHead(tx: PostgresTransaction, shard: string): Promise<HeadRow> {
  const row = await tx.head();
  if (row?.shard === shard) {
    if (shownLogIn(await tx.shown(), shard) >= row.log) throw new HoldfastError("server_put_back");
    return row;
  }
  invariant(await formerShard(tx, shard), "the shard is the tenant's");
  throw new HoldfastError("server_log_sealed", { shard });
}

function formerShard(tx: PostgresTransaction, shard: string): Promise<LogCounters | undefined> {
  return tx.row<LogCounters>(
    `SELECT shard, log, events, leaves, range FROM holdfast.successions
     WHERE tenant = $1 AND shard = $2 ORDER BY number DESC LIMIT 1`,
    tx.tenant ?? "",
    shard,
  );
}

async function countersOf(
  tx: PostgresTransaction,
  shard: string,
): Promise<LogCounters | undefined> {
  const row = await tx.head();
  return row?.shard === shard ? row : formerShard(tx, shard);
}

export function serverLogReads(
  tx: PostgresTransaction,
): Pick<
  ServerReads,
  | "head"
  | "shards"
  | "successions"
  | "serverLeaves"
  | "serverHashes"
  | "serverRange"
  | "shownLog"
  | "checkpoint"
> {
  const keyOf = async (shard: string, log: number | undefined): Promise<LogKey> => ({
    tenant: tx.tenant ?? "",
    shard,
    // No log has this number: of what is not the tenant's, nothing is there.
    log: log ?? (await countersOf(tx, shard))?.log ?? 0,
  });
  const known = async (shard: string): Promise<LogCounters> => {
    const counters = await countersOf(tx, shard);
    invariant(counters !== undefined, "the shard is the tenant's");
    return counters;
  };
  const columns = `SELECT size, root, note, at FROM holdfast.checkpoints
    WHERE tenant = $1 AND shard = $2 AND log = $3`;
  return {
    async head(shard) {
      const { log, events, leaves } = await known(shard);
      return { shard, log, events, leaves };
    },
    shards: () => shards(tx),
    successions: (tenant) => successions(tx, tenant),
    async serverRange(shard) {
      const { leaves, range } = await known(shard);
      return rangeOf(leaves, range);
    },
    shownLog: async (shard) => shownLogIn(await tx.shown(), shard),
    async serverLeaves(shard, from, to, log) {
      const key = await keyOf(shard, log);
      const rows = await tx.rows<{ text: string }>(
        `SELECT text FROM holdfast.server_leaves
         WHERE tenant = $1 AND shard = $2 AND log = $3 AND leaf_index >= $4 AND leaf_index < $5
         ORDER BY leaf_index`,
        key.tenant,
        shard,
        key.log,
        from,
        to,
      );
      return rows.map(({ text }) => text);
    },
    async serverHashes(shard, spans, log) {
      const key = await keyOf(shard, log);
      return inOneGo(spans, (span) => serverHashes(tx, key, span));
    },
    async checkpoint(shard, size, log) {
      const key = await keyOf(shard, log);
      const of = [key.tenant, shard, key.log] as const;
      const row =
        size === undefined
          ? await tx.row<CheckpointRow>(`${columns} ORDER BY size DESC LIMIT 1`, ...of)
          : await tx.row<CheckpointRow>(`${columns} AND size = $4`, ...of, size);
      return row === undefined ? undefined : { ...row, root: owned(row.root) };
    },
  };
}

interface StepRow {
  readonly shard: string;
  readonly log: number;
  readonly leaves: number;
  readonly next_shard: string;
  readonly next_log: number;
}

async function successions(
  tx: PostgresTransaction,
  tenant: string,
): Promise<Awaited<ReturnType<ServerReads["successions"]>>> {
  const rows = await tx.rows<StepRow>(
    `SELECT shard, log, leaves, next_shard, next_log FROM holdfast.successions
     WHERE tenant = $1 ORDER BY number`,
    tenant,
  );
  return rows.map(({ shard, log, leaves, next_shard, next_log }) => ({
    from: { shard, log },
    size: leaves,
    to: { shard: next_shard, log: next_log },
  }));
}

type Listed = Omit<ShardRow, "sealed">;

/** Of all tenants: each one's sealed shards in their order, then the one that it is in. */
async function shards(tx: PostgresTransaction): Promise<readonly ShardRow[]> {
  const own = await tx.head();
  await tx.exec(setOperator("shards"));
  const sealed = await tx.rows<Listed>(
    `SELECT tenant, shard, log, events, leaves FROM holdfast.successions
     WHERE shard <> next_shard ORDER BY tenant, number`,
  );
  const heads = await tx.rows<Listed>(
    "SELECT tenant, shard, log, events, leaves FROM holdfast.shards ORDER BY tenant",
  );
  await tx.exec(setOperator(undefined));
  const former = Map.groupBy(sealed, ({ tenant }) => tenant);
  return heads.flatMap((row) => {
    // What a write has changed of its own row is sent when it ends.
    const { tenant, shard, log, events, leaves } = row.tenant === own?.tenant ? own : row;
    const before = former.get(tenant) ?? [];
    return [
      ...before.map((one) => ({ ...one, sealed: true })),
      { tenant, shard, log, events, leaves, sealed: false },
    ];
  });
}

/** All spans are under way together: one round trip. */
export function inOneGo(
  spans: readonly HashSpan[],
  read: (span: HashSpan) => Promise<readonly Bytes[]>,
): Promise<readonly (readonly Bytes[])[]> {
  return Promise.all(spans.map(read));
}

/** Hashes that a statement selects. */
export async function hashesOf(
  tx: PostgresTransaction,
  sql: string,
  ...values: readonly (string | number)[]
): Promise<readonly Bytes[]> {
  const rows = await tx.rows<{ hash: Uint8Array }>(sql, ...values);
  return rows.map(({ hash }) => owned(hash));
}

/** One span of the tree of a server log. */
export function serverHashes(
  tx: PostgresTransaction,
  { tenant, shard, log }: LogKey,
  { height, from, to }: HashSpan,
): Promise<readonly Bytes[]> {
  return height === 0
    ? hashesOf(tx, serverLeafHashes, tenant, shard, log, from, to)
    : hashesOf(tx, serverTileRoots, tenant, shard, log, height, from, to);
}

const serverLeafHashes = `SELECT hash FROM holdfast.server_leaves
  WHERE tenant = $1 AND shard = $2 AND log = $3 AND leaf_index >= $4 AND leaf_index < $5
  ORDER BY leaf_index`;
const serverTileRoots = `SELECT root AS hash FROM holdfast.server_tiles
  WHERE tenant = $1 AND shard = $2 AND log = $3 AND height = $4 AND tile >= $5 AND tile < $6
  ORDER BY tile`;

/**
 * One transaction on one connection. Statements that answer nothing are sent on without waiting, so that a write
 * costs few round trips; the first failure is what the transaction failed of.
 */
import { HoldfastError, invariant } from "@holdfast/core";
import type { PostgresConnection, PostgresValue } from "./postgres-driver.ts";

/** Row of the tenant and of its newest shard, as the transaction leaves them. */
export interface HeadRow {
  readonly tenant: string;
  /** Under which its events lie. */
  readonly home: string;
  readonly shard: string;
  readonly founder: string;
  readonly node: string;
  readonly log: number;
  readonly events: number;
  readonly leaves: number;
  readonly grants: number;
  readonly range: Uint8Array;
  /** How often its server log went on in another one. */
  readonly successions: number;
}

export interface PostgresTransaction {
  readonly tenant: string | undefined;
  rows<Row>(sql: string, ...values: readonly PostgresValue[]): Promise<readonly Row[]>;
  /** As {@link rows} for at most one. */
  row<Row>(sql: string, ...values: readonly PostgresValue[]): Promise<Row | undefined>;
  /** Sends a statement; {@link settle} tells whether it worked. `changes`: how many rows it has to change. */
  send(changes: number | undefined, sql: string, ...values: readonly PostgresValue[]): void;
  exec(sql: string): Promise<void>;
  /** Waits for everything that was sent. Throws the first failure. */
  settle(): Promise<void>;
  /** The head row, read once; `undefined`: no such tenant. */
  head(): Promise<HeadRow | undefined>;
  moveHead(head: HeadRow): void;
  /** Kept checkpoints of the tenant that show more than is here, read once. */
  shown(): Promise<readonly { readonly bytes: Uint8Array }[]>;
  /** Numbers of device logs that the transaction has met. */
  readonly logNumbers: Map<string, number>;
}

const headColumns = `tenants.tenant, tenants.home, tenants.founder, tenants.node, shards.shard,
  shards.log, shards.events, shards.leaves, shards.grants, shards.range, shards.successions
  FROM holdfast.tenants JOIN holdfast.shards ON shards.tenant = tenants.tenant
  WHERE tenants.tenant = $1`;
const readHead = `SELECT ${headColumns}`;
/** Whoever writes to the tenant waits here, so that what a writer reads stays true until it commits. */
const lockHead = `SELECT ${headColumns} FOR UPDATE OF shards`;

const readShown = `SELECT bytes FROM holdfast.quarantine
  WHERE tenant = $1 AND code = 'server_put_back'`;

/** `locks`: whether the head row is locked, for a write. */
export function createTransaction(
  connection: PostgresConnection,
  tenant: string | undefined,
  locks: boolean,
): PostgresTransaction {
  let failure: unknown;
  let head: Promise<HeadRow | undefined> | undefined;
  let shown: ReturnType<PostgresTransaction["shown"]> | undefined;
  const sent: Promise<unknown>[] = [];
  const failed = (error: unknown): never => {
    failure ??= error;
    throw failure;
  };
  const rows: PostgresTransaction["rows"] = <Row>(
    sql: string,
    ...values: readonly PostgresValue[]
  ) => connection.rows<Row>(sql, ...values).catch(failed);
  const keep = (outcome: Promise<unknown>): void => {
    // Whoever settles hears of it; until then nobody listens.
    outcome.catch(() => undefined);
    sent.push(outcome);
  };
  return {
    tenant,
    rows,
    async row<Row>(sql: string, ...values: readonly PostgresValue[]) {
      return (await rows<Row>(sql, ...values))[0];
    },
    send(changes, sql, ...values) {
      const outcome = connection.run(sql, ...values).catch(failed);
      keep(
        outcome.then((changed) => {
          if (changes === undefined || changed === changes) return;
          failed(new HoldfastError("store_constraint", { changed }));
        }),
      );
    },
    async exec(sql) {
      await connection.exec(sql).catch(failed);
    },
    async settle() {
      await Promise.allSettled(sent.splice(0));
      if (failure !== undefined) throw failure as Error;
    },
    head() {
      if (tenant === undefined) return Promise.resolve(undefined);
      head ??= rows<HeadRow>(locks ? lockHead : readHead, tenant).then(([row]) => row);
      return head;
    },
    shown() {
      if (tenant === undefined) return Promise.resolve([]);
      shown ??= rows<{ bytes: Uint8Array }>(readShown, tenant);
      return shown;
    },
    moveHead(row) {
      head = Promise.resolve(row);
    },
    logNumbers: new Map(),
  };
}

/** The head of the tenant that the transaction writes to. */
export async function ownHead(tx: PostgresTransaction, tenant: string): Promise<HeadRow> {
  const head = await tx.head();
  invariant(head?.tenant === tenant, "a transaction writes to its own tenant");
  return head;
}

/** What a transaction changes in a server's PostgreSQL. Inserts are sent without waiting for their answers. */
import {
  type Bytes,
  concat,
  createTreeBuilder,
  type Crypto,
  HoldfastError,
  invariant,
  isHoldfastError,
  leafHash,
  utf8,
} from "@holdfast/core";
import { completedFrom, type CompletedTile, completedTiles } from "./log/completed-tiles.ts";
import { accessWrites } from "./postgres-access-writes.ts";
import { bytesArray, integerArray, textArray } from "./postgres-arrays.ts";
import { sendPlaces } from "./postgres-places.ts";
import { serverHashes, writableHead } from "./postgres-server-logs.ts";
import { setCode } from "./postgres-session.ts";
import { shredWrites } from "./postgres-shreds.ts";
import { type HeadRow, ownHead, type PostgresTransaction } from "./postgres-transaction.ts";
import type { EventToPlace, ServerLogName, ServerReads, ServerWrites } from "./server-store.ts";
import { rangeBytes, rangeOf, shownLogIn } from "./store-rows.ts";

type HashCrypto = Pick<Crypto, "sha256">;
/** Everything that a transaction may change. */
type PostgresWrites = Omit<ServerWrites, keyof ServerReads>;

export function createPostgresWrites(
  crypto: HashCrypto,
  tx: PostgresTransaction,
  reads: ServerReads,
): PostgresWrites {
  return {
    ...tenantWrites(tx),
    ...deviceLogWrites(crypto, tx, reads),
    ...accessWrites(crypto, tx),
    ...serverLogWrites(crypto, tx),
    ...shredWrites(tx),
    placeEvents: (tenant, events) => placeEvents(tx, tenant, events),
  };
}

/** Sends the head row as the transaction leaves it; the last thing before it commits. */
export async function sendHead(
  tx: PostgresTransaction,
  before: HeadRow | undefined,
): Promise<void> {
  const head = await tx.head();
  if (head === undefined || head === before) return;
  tx.send(
    1,
    `UPDATE holdfast.shards SET shard = $2, log = $3, events = $4, leaves = $5, grants = $6,
       range = $7, successions = $8
     WHERE tenant = $1`,
    head.tenant,
    head.shard,
    head.log,
    head.events,
    head.leaves,
    head.grants,
    head.range,
    head.successions,
  );
}

function tenantWrites(
  tx: PostgresTransaction,
): Pick<
  PostgresWrites,
  "addTenant" | "succeedLog" | "addDevice" | "revokeDevice" | "addCode" | "useCode"
> {
  return {
    async addTenant({ tenant, shard, founder, node }) {
      invariant((await tx.head()) === undefined, "a tenant is founded once");
      await nameShard(tx, shard);
      tx.send(
        1,
        "INSERT INTO holdfast.tenants (tenant, home, founder, node) VALUES ($1, $2, $3, $4)",
        tenant,
        shard,
        founder,
        node,
      );
      const range = new Uint8Array(0);
      tx.send(
        1,
        `INSERT INTO holdfast.shards
           (tenant, shard, log, events, leaves, grants, range, successions)
         VALUES ($1, $2, 1, 0, 0, 0, $3, 0)`,
        tenant,
        shard,
        range,
      );
      const counters = { events: 0, leaves: 0, grants: 0, successions: 0 };
      tx.moveHead({ tenant, home: shard, shard, founder, node, log: 1, ...counters, range });
    },
    succeedLog: (tenant, to) => succeedLog(tx, tenant, to),
    addDevice(tenant, row) {
      tx.send(
        1,
        `INSERT INTO holdfast.devices (tenant, device, role, status, enrolled_at, code, binding)
         VALUES ($1, $2, $3, $4, $5, $6, $7)`,
        tenant,
        row.device,
        row.role,
        row.status,
        row.enrolledAt,
        row.code ?? null,
        row.binding ?? null,
      );
    },
    revokeDevice(tenant, device) {
      tx.send(
        1,
        "UPDATE holdfast.devices SET status = 'revoked' WHERE tenant = $1 AND device = $2",
        tenant,
        device,
      );
    },
    addCode({ digest, tenant, role, expires, usedAt }) {
      tx.send(
        1,
        `INSERT INTO holdfast.codes (digest, tenant, role, expires, used_at)
         VALUES ($1, $2, $3, $4, $5)`,
        digest,
        tenant ?? null,
        role,
        expires,
        usedAt ?? null,
      );
    },
    async useCode(digest, at) {
      await tx.exec(setCode(digest));
      // A code is used once: whoever comes second changes nothing, and fails.
      tx.send(
        1,
        "UPDATE holdfast.codes SET used_at = $2 WHERE digest = $1 AND used_at IS NULL",
        digest,
        at,
      );
    },
  };
}

/** Takes a name for good: whoever takes it at the same moment waits here for the outcome. Throws `shard_taken`. */
async function nameShard(tx: PostgresTransaction, shard: string): Promise<void> {
  try {
    await tx.rows("INSERT INTO holdfast.shard_names (shard) VALUES ($1)", shard);
  } catch (error) {
    if (!isHoldfastError(error, "store_constraint")) throw error;
    throw new HoldfastError("shard_taken", {}, { cause: error });
  }
}

async function succeedLog(
  tx: PostgresTransaction,
  tenant: string,
  to: ServerLogName,
): Promise<void> {
  const head = await ownHead(tx, tenant);
  const { shard, log } = head;
  if (to.shard === shard) invariant(to.log > log, "a log of the same shard has a later number");
  else {
    invariant(to.log === 1, "a shard begins with its first log");
    if (shownLogIn(await tx.shown(), shard) >= log) throw new HoldfastError("server_put_back");
    await nameShard(tx, to.shard);
  }
  const successions = head.successions + 1;
  tx.send(
    1,
    `INSERT INTO holdfast.successions
       (tenant, number, shard, log, events, leaves, range, next_shard, next_log)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
    tenant,
    successions,
    shard,
    log,
    head.events,
    head.leaves,
    head.range,
    to.shard,
    to.log,
  );
  tx.moveHead({ ...head, ...to, leaves: 0, range: new Uint8Array(0), successions });
}

/** Reads hashes [from, to) of a height; adds tiles of a height. */
interface TileTable {
  read(height: number, from: number, to: number): Promise<readonly Bytes[]>;
  add(height: number, tiles: readonly CompletedTile[]): void;
}

/** Adds the root of every tile that the new hashes complete, at each height. */
async function addTiles(
  crypto: HashCrypto,
  table: TileTable,
  from: number,
  leaves: readonly Bytes[],
): Promise<void> {
  let first = from;
  let hashes = leaves;
  for (let height = 0; ; height++) {
    const start = completedFrom(first, hashes.length);
    if (start === undefined) return;
    const tail = await table.read(height, start, first);
    const tiles = completedTiles(crypto, start, [...tail, ...hashes]);
    table.add(height + 1, tiles);
    first = tiles[0]?.tile as number;
    hashes = tiles.map(({ root }) => root);
  }
}

function deviceLogWrites(
  crypto: HashCrypto,
  tx: PostgresTransaction,
  reads: ServerReads,
): Pick<PostgresWrites, "addDeviceLog" | "extendDeviceLog" | "addReceipt"> {
  const tilesOf = (
    tenant: string,
    device: string,
    incarnation: string,
    log: number,
  ): TileTable => ({
    async read(height, from, to) {
      const spans = [{ height, from, to }];
      return (await reads.deviceHashes(tenant, device, incarnation, spans))[0] ?? [];
    },
    add(height, tiles) {
      tx.send(
        tiles.length,
        `INSERT INTO holdfast.tiles (tenant, log, height, tile, root)
         SELECT $1, $2, $3, made.tile, made.root
         FROM unnest($4::bigint[], $5::bytea[]) AS made (tile, root)`,
        tenant,
        log,
        height,
        integerArray(tiles.map(({ tile }) => tile)),
        bytesArray(tiles.map(({ root }) => root)),
      );
    },
  });
  return {
    async addDeviceLog(tenant, row) {
      const last = await tx.row<{ number: number }>(
        "SELECT coalesce(max(number), 0) AS number FROM holdfast.logs WHERE tenant = $1",
        tenant,
      );
      const number = (last?.number ?? 0) + 1;
      tx.logNumbers.set(`${row.device}/${row.incarnation}`, number);
      tx.send(
        1,
        `INSERT INTO holdfast.logs (tenant, number, device, incarnation, algorithm, spki, hpke,
           opening, size, head, range, note, receipt, received_at, enrolment, revocation, owed,
           cutoff)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)`,
        tenant,
        number,
        row.device,
        row.incarnation,
        row.algorithm,
        row.spki,
        row.hpke,
        row.opening,
        row.size,
        row.head,
        rangeBytes(row.range),
        row.note ?? null,
        row.receipt ?? null,
        row.receivedAt,
        row.enrolment,
        row.revocation ?? null,
        JSON.stringify(row.owed),
        row.cutoff ?? null,
      );
    },
    async extendDeviceLog(tenant, row, from, leaves) {
      const { device, incarnation } = row;
      const log = await logNumber(tx, tenant, device, incarnation);
      invariant(from + leaves.length === row.size, "a log grows by the leaves that it is given");
      if (leaves.length > 0) {
        await addTiles(crypto, tilesOf(tenant, device, incarnation, log), from, leaves);
        tx.send(
          1,
          "INSERT INTO holdfast.leaves (tenant, log, first, hashes) VALUES ($1, $2, $3, $4)",
          tenant,
          log,
          from,
          concat(...leaves),
        );
      }
      tx.send(
        1,
        `UPDATE holdfast.logs SET size = $4, head = $5, range = $6, note = $7, receipt = $8,
           received_at = $9, enrolment = $10, revocation = $11, owed = $12, cutoff = $13
         WHERE tenant = $1 AND device = $2 AND incarnation = $3 AND size = $14`,
        tenant,
        device,
        incarnation,
        row.size,
        row.head,
        rangeBytes(row.range),
        row.note ?? null,
        row.receipt ?? null,
        row.receivedAt,
        row.enrolment,
        row.revocation ?? null,
        JSON.stringify(row.owed),
        row.cutoff ?? null,
        from,
      );
    },
    async addReceipt(tenant, device, incarnation, noteDigest, index) {
      const { successions } = await ownHead(tx, tenant);
      tx.send(
        1,
        `INSERT INTO holdfast.receipts (tenant, log, note, successions, leaf_index)
         VALUES ($1, $2, $3, $4, $5)`,
        tenant,
        await logNumber(tx, tenant, device, incarnation),
        noteDigest,
        successions,
        index,
      );
    },
  };
}

async function logNumber(
  tx: PostgresTransaction,
  tenant: string,
  device: string,
  incarnation: string,
): Promise<number> {
  const name = `${device}/${incarnation}`;
  const known = tx.logNumbers.get(name);
  if (known !== undefined) return known;
  const row = await tx.row<{ number: number }>(
    `SELECT number FROM holdfast.logs
     WHERE tenant = $1 AND device = $2 AND incarnation = $3`,
    tenant,
    device,
    incarnation,
  );
  invariant(row !== undefined, "the row that others refer to is there");
  tx.logNumbers.set(name, row.number);
  return row.number;
}

/** Of each event; they are of one log mostly. */
async function logNumbers(
  tx: PostgresTransaction,
  tenant: string,
  events: readonly EventToPlace[],
): Promise<readonly number[]> {
  const logs: number[] = [];
  let before: EventToPlace | undefined;
  for (const event of events) {
    const { device, incarnation } = event;
    const same = before?.device === device && before.incarnation === incarnation;
    const known = same ? logs.at(-1) : undefined;
    logs.push(known ?? (await logNumber(tx, tenant, device, incarnation)));
    before = event;
  }
  return logs;
}

async function placeEvents(
  tx: PostgresTransaction,
  tenant: string,
  events: readonly EventToPlace[],
): Promise<number> {
  const head = await ownHead(tx, tenant);
  const first = head.events + 1;
  if (events.length === 0) return first;
  const logs = await logNumbers(tx, tenant, events);
  sendPlaces(
    tx,
    tenant,
    first,
    events.map(({ scope, stream }, at) => ({ log: logs[at] ?? 0, scope, stream })),
  );
  tx.send(
    events.length,
    `INSERT INTO holdfast.event_ids (tenant, id)
     SELECT $1, placed.id FROM unnest($2::text[]) AS placed (id)`,
    tenant,
    textArray(events.map(({ id }) => id)),
  );
  tx.send(
    events.length,
    `INSERT INTO holdfast.events
       (tenant, home, position, log, leaf_index, scope, header, frames)
     SELECT $1, $2, $3::bigint + placed.place, placed.log, placed.leaf_index, placed.scope,
       placed.header, placed.frames
     FROM unnest($4::bigint[], $5::bigint[], $6::text[], $7::text[], $8::bytea[])
       WITH ORDINALITY AS placed (log, leaf_index, scope, header, frames, place)`,
    tenant,
    head.home,
    head.events,
    integerArray(logs),
    integerArray(events.map(({ index }) => index)),
    textArray(events.map(({ scope }) => scope)),
    textArray(events.map(({ header }) => header)),
    bytesArray(events.map(({ frames }) => frames)),
  );
  tx.moveHead({ ...head, events: head.events + events.length });
  return first;
}

function serverLogWrites(
  crypto: HashCrypto,
  tx: PostgresTransaction,
): Pick<PostgresWrites, "addServerLeaves" | "addCheckpoint"> {
  return {
    async addServerLeaves(shard, texts) {
      const head = await writableHead(tx, shard);
      const { tenant, log } = head;
      const builder = createTreeBuilder(crypto, rangeOf(head.leaves, head.range));
      const hashes = texts.map((text) => leafHash(crypto, utf8(text)));
      for (const hash of hashes) builder.append(hash);
      const table: TileTable = {
        read: (height, from, to) => serverHashes(tx, { tenant, shard, log }, { height, from, to }),
        add(height, tiles) {
          tx.send(
            tiles.length,
            `INSERT INTO holdfast.server_tiles (tenant, shard, log, height, tile, root)
             SELECT $1, $2, $3, $4, made.tile, made.root
             FROM unnest($5::bigint[], $6::bytea[]) AS made (tile, root)`,
            tenant,
            shard,
            log,
            height,
            integerArray(tiles.map(({ tile }) => tile)),
            bytesArray(tiles.map(({ root }) => root)),
          );
        },
      };
      await addTiles(crypto, table, head.leaves, hashes);
      tx.send(
        texts.length,
        `INSERT INTO holdfast.server_leaves (tenant, shard, log, leaf_index, text, hash)
         SELECT $1, $2, $3, $4::bigint + made.place - 1, made.text, made.hash
         FROM unnest($5::text[], $6::bytea[]) WITH ORDINALITY AS made (text, hash, place)`,
        tenant,
        shard,
        log,
        head.leaves,
        textArray(texts),
        bytesArray(hashes),
      );
      tx.moveHead({ ...head, leaves: builder.size, range: rangeBytes(builder.range()) });
      return head.leaves;
    },
    async addCheckpoint(shard, { size, root, note, at }) {
      const { tenant, log } = await writableHead(tx, shard);
      tx.send(
        1,
        `INSERT INTO holdfast.checkpoints (tenant, shard, log, size, root, note, at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)`,
        tenant,
        shard,
        log,
        size,
        root,
        note,
        at,
      );
    },
  };
}

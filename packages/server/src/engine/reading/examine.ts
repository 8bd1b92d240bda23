/**
 * Looking a database over: does it prove what it says? The last checkpoint of each log from the stored leaves, each
 * device log from its leaves, its note and its receipt, each event from its place there. Nothing is changed.
 */
import {
  base64,
  base64url,
  createTreeBuilder,
  type DeviceStatement,
  equalBytes,
  HoldfastError,
  isHoldfastError,
  leafHash,
  limits,
  noteDigest,
  openSignedCheckpoint,
  parseStatement,
  rootOf,
  utf8,
} from "@holdfast/core";
import type { EngineDeps } from "../engine-deps.ts";
import { openCommitNote } from "../founding/opening.ts";
import { algorithmOf, serverLogOrigin } from "../log/checkpoints.ts";
import type {
  CheckpointRow,
  DeviceLogRow,
  PlacedEvent,
  ServerLogName,
  ServerReads,
  ShardRow,
} from "../server-store.ts";

type ExamineDeps = Pick<EngineDeps, "crypto" | "key" | "host">;

/** What was found in one shard. */
export interface ExaminedShard {
  readonly tenant: string;
  /** Origin of its newest log. */
  readonly log: string;
  /** Leaves that the last checkpoint proves. */
  readonly size: number;
  readonly deviceLogs: number;
  readonly events: number;
  /** What does not hold, each in words; none: everything that the database says is proven. */
  readonly problems: readonly string[];
}

const leavesEach = 1_000;
const eventsEach = 500;

/** The newest checkpoint of a log, when the stored leaves make its tree. Throws `server_log_unproven`. */
export async function proveNewest(
  { crypto, key, host }: ExamineDeps,
  reads: ServerReads,
  { shard, log }: ServerLogName,
): Promise<CheckpointRow> {
  const newest = await reads.checkpoint(shard, undefined, log);
  if (newest === undefined) throw new HoldfastError("server_log_unproven", { part: "checkpoint" });
  const tree = createTreeBuilder(crypto);
  for (let from = 0; from < newest.size; from += leavesEach) {
    const to = Math.min(newest.size, from + leavesEach);
    const texts = await reads.serverLeaves(shard, from, to, log);
    for (const text of texts) tree.append(leafHash(crypto, utf8(text)));
  }
  const pinned = { algorithm: algorithmOf(key.spki), spki: key.spki };
  const signed = openSignedCheckpoint(crypto, newest.note, pinned);
  const proves =
    tree.size === newest.size &&
    equalBytes(tree.root(), newest.root) &&
    signed?.origin === serverLogOrigin(host, shard, log) &&
    signed.size === newest.size &&
    equalBytes(signed.root, newest.root);
  if (!proves) throw new HoldfastError("server_log_unproven", { part: "leaves" });
  return newest;
}

/** Looks every shard over that is not sealed, with the logs that it went on for. */
export async function examineShards(deps: EngineDeps): Promise<readonly ExaminedShard[]> {
  const { store } = deps;
  const shards = await store.read(undefined, (reads) => reads.shards());
  const examined: ExaminedShard[] = [];
  for (const row of shards) {
    if (row.sealed) continue;
    examined.push(await store.read(row.tenant, (reads) => examineShard(deps, reads, row)));
  }
  return examined;
}

async function examineShard(
  deps: ExamineDeps,
  reads: ServerReads,
  { tenant, shard, log, events }: ShardRow,
): Promise<ExaminedShard> {
  const problems: string[] = [];
  const steps = (await reads.successions(tenant)).map(({ from }) => from);
  let size = 0;
  for (const one of [...steps, { shard, log }]) {
    const name = serverLogOrigin(deps.host, one.shard, one.log);
    try {
      ({ size } = await proveNewest(deps, reads, one));
    } catch (error) {
      if (!isHoldfastError(error, "server_log_unproven")) throw error;
      problems.push(`${name}: its leaves do not make the tree of its newest checkpoint`);
    }
  }
  const logs = await reads.deviceLogs(tenant);
  for (const row of logs) {
    for (const fault of await faultsOf(deps, reads, tenant, shard, row)) {
      problems.push(`device log ${row.device}/${row.incarnation}: ${fault}`);
    }
  }
  problems.push(...(await faultsOfEvents(deps, reads, tenant, events)));
  const origin = serverLogOrigin(deps.host, shard, log);
  return { tenant, log: origin, size, deviceLogs: logs.length, events, problems };
}

async function faultsOf(
  { crypto }: ExamineDeps,
  reads: ServerReads,
  tenant: string,
  shard: string,
  row: DeviceLogRow,
): Promise<readonly string[]> {
  const { device, incarnation, size, note } = row;
  const faults: string[] = [];
  const tree = createTreeBuilder(crypto);
  for (let from = 0; from < size; from += leavesEach) {
    const to = Math.min(size, from + leavesEach);
    for (const leaf of await reads.leavesOf(tenant, device, incarnation, from, to)) {
      tree.append(Uint8Array.from(Buffer.from(leaf, "base64url")));
    }
  }
  const root = rootOf(crypto, row.range);
  if (tree.size !== size || !equalBytes(tree.root(), root))
    faults.push("its leaves make another tree");
  const enrolment = await statementAt(reads, shard, row.enrolment);
  if (enrolment?.kind !== "enrol") faults.push("its enrolment is not in the server log");
  if (note === undefined || row.receipt === undefined) return faults;
  const stated = await statementAt(reads, shard, row.receipt);
  const agrees =
    stated?.kind === "receipt" &&
    stated.size === size &&
    stated.root === base64(root) &&
    stated.note === noteDigest(crypto, note);
  if (!agrees) faults.push("its receipt states something else");
  try {
    openCommitNote(crypto, { tenant, device, incarnation }, row, note);
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
    faults.push("its note is not signed by its key");
  }
  return faults;
}

async function statementAt(
  reads: ServerReads,
  shard: string,
  index: number,
): Promise<DeviceStatement | undefined> {
  const [text = ""] = await reads.serverLeaves(shard, index, index + 1);
  try {
    return parseStatement(text);
  } catch (error) {
    if (isHoldfastError(error, "server_leaf_malformed")) return undefined;
    throw error;
  }
}

/** Positions without gaps, and each header the leaf of its place. */
async function faultsOfEvents(
  { crypto }: ExamineDeps,
  reads: ServerReads,
  tenant: string,
  events: number,
): Promise<readonly string[]> {
  const faults: string[] = [];
  let position = 0;
  for (;;) {
    const bytes = limits.pullBytesMax;
    const page = await reads.events(tenant, "*", position, eventsEach, undefined, bytes);
    if (page.length === 0) break;
    for (const [at, event] of page.entries()) {
      if (event.position !== position + at + 1)
        faults.push(`position ${position + at + 1} is missing`);
    }
    for (const of of Map.groupBy(page, nameOf).values()) {
      const [first] = of;
      if (first === undefined) continue;
      const { device, incarnation } = first;
      const indices = of.map(({ index }) => index);
      const [from, to] = [Math.min(...indices), Math.max(...indices) + 1];
      const leaves = await reads.leavesOf(tenant, device, incarnation, from, to);
      for (const { index, header, position: where } of of) {
        const leaf = base64url(leafHash(crypto, utf8(header)));
        if (leaves[index - from] !== leaf) faults.push(`event ${where} is not what its log holds`);
      }
    }
    position = page.at(-1)?.position ?? position;
  }
  if (position !== events) faults.push(`events end at position ${position} of ${events}`);
  return faults;
}

function nameOf({ device, incarnation }: PlacedEvent): string {
  return `${device}/${incarnation}`;
}

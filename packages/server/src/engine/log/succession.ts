/**
 * A tenant's server log goes on in another one: in the log of another shard, or in the next log of the same shard
 * where a server was restored. Everything happens in one write transaction: the last checkpoint of the log before
 * covers all of its leaves, the first leaf of the new log names it (`epoch`), and every device log is stated
 * again, so that the new log alone proves each later page and receipt. What is stated again has the text that it
 * had: the server says what it said before, and when.
 */
import { base64, formatEpoch, invariant, noteDigest } from "@holdfast/core";
import type {
  CheckpointRow,
  DeviceLogRow,
  ServerLogName,
  ServerReads,
  ServerWrites,
  TenantRow,
} from "../server-store.ts";
import { type CheckpointDeps, keepCheckpoint, serverLogOrigin } from "./checkpoints.ts";

/** What came of it. */
export interface BegunLog {
  readonly from: ServerLogName & { readonly last: CheckpointRow };
  readonly to: ServerLogName;
  /** Device logs that were stated again. */
  readonly logs: number;
}

/** Ends the tenant's log and begins that one, as `node` states; its checkpoint is signed with whatever else the transaction adds. */
export async function beginNextLog(
  deps: CheckpointDeps,
  tx: ServerWrites,
  { tenant, shard }: TenantRow,
  { to, node }: { readonly to: ServerLogName; readonly node: string },
): Promise<BegunLog> {
  const last = await keepCheckpoint(deps, tx, shard);
  const { log, events } = await tx.head(shard);
  const from = { shard, log };
  const restated: { readonly row: DeviceLogRow; readonly texts: StatedAgain }[] = [];
  for (const row of await tx.deviceLogs(tenant)) {
    restated.push({ row, texts: await statedAgain(tx, shard, row) });
  }
  await tx.succeedLog(tenant, to);
  const epoch = formatEpoch({
    v: 1,
    kind: "epoch",
    origin: serverLogOrigin(deps.host, shard, log),
    size: last.size,
    root: base64(last.root),
    note: noteDigest(deps.crypto, last.note),
    events,
    received: deps.now(),
    node,
  });
  await tx.addServerLeaves(to.shard, [epoch]);
  for (const { row, texts } of restated) await stateAgain(deps, tx, tenant, to, row, texts);
  deps.observer.count("server_logs_begun", 1);
  return { from: { ...from, last }, to, logs: restated.length };
}

/** Texts of the leaves that say all about a device log. */
interface StatedAgain {
  readonly enrolment: string;
  readonly revocation: string | undefined;
  readonly receipt: string | undefined;
}

async function statedAgain(
  reads: ServerReads,
  shard: string,
  { enrolment, revocation, receipt }: DeviceLogRow,
): Promise<StatedAgain> {
  const textAt = async (index: number): Promise<string> => {
    const [text] = await reads.serverLeaves(shard, index, index + 1);
    invariant(text !== undefined, "a leaf that a device log names is in the server log");
    return text;
  };
  return {
    enrolment: await textAt(enrolment),
    revocation: revocation === undefined ? undefined : await textAt(revocation),
    receipt: receipt === undefined ? undefined : await textAt(receipt),
  };
}

async function stateAgain(
  { crypto }: CheckpointDeps,
  tx: ServerWrites,
  tenant: string,
  { shard }: ServerLogName,
  row: DeviceLogRow,
  texts: StatedAgain,
): Promise<void> {
  const add = async (text: string | undefined): Promise<number | undefined> =>
    text === undefined ? undefined : tx.addServerLeaves(shard, [text]);
  const enrolment = await tx.addServerLeaves(shard, [texts.enrolment]);
  const revocation = await add(texts.revocation);
  const receipt = await add(texts.receipt);
  const moved = { ...row, enrolment, revocation, receipt };
  await tx.extendDeviceLog(tenant, moved, row.size, []);
  if (receipt === undefined) return;
  const { device, incarnation, note } = row;
  await tx.addReceipt(tenant, device, incarnation, noteDigest(crypto, note ?? ""), receipt);
}

/** Ingest of one push: judged by itself, written with its group, answered under the group's checkpoint. */
import {
  type ErrorCode,
  HoldfastError,
  invariant,
  limits,
  noteDigest,
  type PushAnswer,
  type PushRequest,
  rootOf,
} from "@holdfast/core";
import { known } from "../caller.ts";
import type { EngineDeps } from "../engine-deps.ts";
import { openDeviceLog } from "../founding/first-words.ts";
import type { OwnNode } from "../founding/own-node.ts";
import { statementText } from "../log/statements.ts";
import type { DeviceLogRow, ServerReads, ServerWrites, TenantRow } from "../server-store.ts";
import type { Caller } from "../sync-server.ts";
import { together } from "../together.ts";
import type { Answer, WriteLoop } from "../write-loop.ts";
import { putInForce } from "../shredding/in-force.ts";
import { applyAccess } from "./access.ts";
import { type Offer, readOffer } from "./offer.ts";
import { planPush, type PushPlan } from "./plan-push.ts";
import { type Continuation, findLog, judgeContinuation, type PushedLog } from "./verify-push.ts";

/** Told after a push that put a shred in force. */
type ShredTold = (tenant: string) => void;
type WritePush = (tx: ServerWrites) => Promise<Answer<PushAnswer>>;

/**
 * Throws, and changes nothing: `caller_unknown`, `push_foreign`, `push_malformed`, `push_too_large`,
 * `push_note_malformed`, `push_signature_wrong`, `push_root_wrong`, `opening_wrong`, `server_behind`.
 */
export async function push(
  deps: EngineDeps,
  loop: WriteLoop,
  { own, onShred }: { readonly own: OwnNode; readonly onShred: ShredTold },
  caller: Caller,
  request: PushRequest,
  raw: Uint8Array,
): Promise<PushAnswer> {
  const { clock, observer } = deps;
  const started = clock.monotonic();
  let result = "refused";
  try {
    if (request.device !== caller.device) throw new HoldfastError("push_foreign");
    const offer = readOffer(deps.crypto, request);
    const known = own.in(caller.tenant);
    const node = typeof known === "string" ? known : await known;
    let shreds = false;
    const answer = await loop.submit<PushAnswer>({
      tenant: caller.tenant,
      bytes: offer.bytes,
      judge: (reads) =>
        judgePush(deps, reads, { caller, offer, raw, node, putInForce: () => (shreds = true) }),
    });
    // Behind the commit: before it, whoever reads committed state finds nothing to do.
    if (shreds) onShred(caller.tenant);
    result = answer.status;
    return answer;
  } finally {
    observer.count("server_pushes", 1, { result });
    observer.observe("server_push_latency", clock.monotonic() - started);
  }
}

interface AskedPush {
  readonly caller: Caller;
  readonly offer: Offer;
  readonly raw: Uint8Array;
  /** Device id of the node that states the receipt. */
  readonly node: string;
  /** Told when the push puts a shred in force; not committed yet. */
  readonly putInForce: () => void;
}

async function judgePush(
  deps: EngineDeps,
  reads: ServerReads,
  asked: AskedPush,
): Promise<WritePush> {
  const { caller, offer, raw } = asked;
  const { tenant } = caller;
  const [device, row, before] = await together(
    () => known(reads, caller),
    () => reads.tenant(tenant),
    () => reads.quarantined(tenant, caller.device),
  );
  invariant(row !== undefined, "a device is of a tenant that is there");
  const { leaves } = await reads.head(row.shard);
  if (offer.request.checkpoint > leaves) {
    throw new HoldfastError("server_behind", { part: "checkpoint", size: leaves });
  }
  const log = await findLog(deps.crypto, reads, tenant, device, offer);
  if (log === undefined) return answered({ status: "behind", size: 0 });
  const continuation = await judgeContinuation(deps.crypto, reads, tenant, log, offer);
  if (continuation.status === "behind") return answered({ status: "behind", size: log.size });
  const kept = before + raw.length;
  if (continuation.status === "fork") {
    // The first pieces are the evidence: a device that goes on like this fills no disk with them.
    const keeps = kept <= limits.forkEvidenceBytesMax;
    return keepFork(deps, caller, log, continuation, offer, keeps ? raw : undefined);
  }
  const plan = await planPush(reads, tenant, device, log, continuation.added, offer);
  if (!plan.changed) return repeated(log, plan, offer);
  if (plan.quarantined.size > 0 && kept > limits.quarantineBytesMax) {
    const limit = "quarantineBytesMax";
    throw new HoldfastError("push_too_large", { limit, value: kept, most: limits[limit] });
  }
  return (tx) => writePush(deps, tx, { ...asked, row, log, continuation, plan });
}

function answered(answer: PushAnswer): WritePush {
  return () => Promise.resolve(() => answer);
}

function keepFork(
  deps: EngineDeps,
  { tenant }: Caller,
  log: PushedLog,
  { index }: Extract<Continuation, { status: "fork" }>,
  offer: Offer,
  raw: Uint8Array | undefined,
): WritePush {
  return async (tx) => {
    if (raw !== undefined) await quarantine(deps, tx, tenant, offer, "device_log_forked", raw);
    return () => ({ status: "fork", index, held: log.row?.note ?? "", size: log.size });
  };
}

/** Everything is here already: the newest receipt states it. */
function repeated(log: PushedLog, plan: PushPlan, offer: Offer): WritePush {
  const receipt = log.row?.receipt;
  if (receipt === undefined) throw new HoldfastError("push_malformed", { part: "entries" });
  return () => Promise.resolve(receiptedAnswer(plan, receipt, offer));
}

function receiptedAnswer(plan: PushPlan, receipt: number, offer: Offer): Answer<PushAnswer> {
  return async (proof) => {
    invariant(proof !== undefined, "a push has a tenant");
    const [proven, consistency] = await together(
      () => proof.prove(receipt),
      () => proof.consistency(offer.request.checkpoint),
    );
    return {
      status: "receipted",
      size: plan.size,
      owed: plan.owed,
      receipt: proven,
      checkpoint: proof.checkpoint.note,
      consistency,
      dispositions: plan.dispositions,
    };
  };
}

interface JudgedPush extends AskedPush {
  readonly row: TenantRow;
  readonly log: PushedLog;
  readonly continuation: Extract<Continuation, { status: "continues" }>;
  readonly plan: PushPlan;
}

async function writePush(
  deps: EngineDeps,
  tx: ServerWrites,
  judged: JudgedPush,
): Promise<Answer<PushAnswer>> {
  const { row, log, continuation, plan, offer, raw, node } = judged;
  const { tenant } = row;
  const at = deps.clock.now();
  const held = log.row ?? (await beginLog(deps, tx, judged, at));
  if (plan.place.length > 0) {
    const first = await tx.placeEvents(tenant, plan.place);
    const changes = plan.access.map((one) => ({ ...one.change, position: first + one.at }));
    await applyAccess(tx, tenant, changes);
    if (await putInForce(deps.crypto, tx, row, plan.place)) judged.putInForce();
    deps.observer.count("server_placed_events", plan.place.length);
  }
  // A fill leaves the log as it is: the note that states this size stays the one of the receipt.
  const note = continuation.added.length > 0 ? offer.request.note : (log.row?.note ?? "");
  const digest = note === offer.request.note ? offer.noteDigest : noteDigest(deps.crypto, note);
  const text = statementText(deps.crypto, {
    kind: "receipt",
    tenant,
    device: log.device,
    incarnation: log.incarnation,
    size: plan.size,
    root: rootOf(deps.crypto, continuation.range),
    note: digest,
    owed: plan.owed,
    received: at,
    node,
  });
  const receipt = await tx.addServerLeaves(row.shard, [text]);
  const { size, head, owed } = plan;
  const moved = { ...held, size, head, owed, range: continuation.range, note, receipt };
  await tx.extendDeviceLog(tenant, { ...moved, receivedAt: at }, log.size, continuation.added);
  await tx.addReceipt(tenant, log.device, log.incarnation, digest, receipt);
  for (const code of plan.quarantined) await quarantine(deps, tx, tenant, offer, code, raw);
  countDispositions(deps, plan);
  return receiptedAnswer(plan, receipt, offer);
}

async function beginLog(
  deps: EngineDeps,
  tx: ServerWrites,
  { row, log, offer, raw, node }: JudgedPush,
  at: number,
): Promise<DeviceLogRow> {
  invariant(log.begins !== undefined, "a log that is not here begins with this push");
  const { opening, contended } = log.begins;
  const { noteDigest: digest } = offer;
  const begun = { opening, noteDigest: digest, at, cutoff: log.cutoff, node };
  const held = await openDeviceLog(deps, tx, begun);
  if (contended) await quarantine(deps, tx, row.tenant, offer, "incarnation_contended", raw);
  return held;
}

async function quarantine(
  deps: EngineDeps,
  tx: ServerWrites,
  tenant: string,
  { request }: Offer,
  code: ErrorCode,
  bytes: Uint8Array,
): Promise<void> {
  const { device, incarnation, note, from } = request;
  const at = deps.clock.now();
  await tx.addQuarantine({ tenant, device, incarnation, code, note, from, bytes, at });
  deps.observer.count("server_quarantined", 1, { code });
}

function countDispositions({ observer }: EngineDeps, plan: PushPlan): void {
  for (const { disposition, code } of plan.dispositions) {
    observer.count("server_dispositions", 1, { disposition, code: code ?? "none" });
  }
}

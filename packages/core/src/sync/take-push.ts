/**
 * Taking the answer to a push: what was judged (judge-push.ts) is stored in one transaction that checks the
 * lease of the entries, so that a worker that slept too long changes nothing.
 */
import { errorCodes, type ErrorCode } from "../std/errors.ts";
import type { Clock } from "../std/ports.ts";
import type { Outbox } from "../outbox/outbox.ts";
import type { Disposition } from "./messages/push.ts";
import { offeredEnd, type PushVerdict } from "./judge-push.ts";
import { acknowledged, clipRanges, isInRanges, subtractRanges } from "./ranges.ts";
import { keepCheckpoint } from "./server-log-view.ts";
import type { PlannedPush, PushOutcome } from "./sync-store.ts";
import type { SyncTables } from "./sync-tables.ts";

export interface TakePushDeps {
  readonly tables: SyncTables;
  readonly outbox: Outbox;
  readonly clock: Clock;
}

type Verdict<Status extends PushVerdict["status"]> = Extract<PushVerdict, { status: Status }>;

/** Settles a judged answer, in the caller's transaction. Throws `outbox_lease_lost`. */
export function settlePush(
  deps: TakePushDeps,
  plan: PlannedPush,
  log: { readonly number: number; readonly size: number },
  verdict: PushVerdict,
): PushOutcome {
  const { outbox } = deps;
  outbox.assertLease(plan.token);
  const outcome = settleVerdict(deps, plan, log, verdict);
  outbox.finish(plan.attempt, ...resultOf(plan, outcome));
  outbox.release(plan.token);
  return outcome.status === "receipted" ? { ...outcome, more: isDue(deps) } : outcome;
}

function resultOf(
  plan: PlannedPush,
  outcome: PushOutcome,
): readonly ["delivered" | "partly" | "failed", ErrorCode?] {
  switch (outcome.status) {
    case "receipted":
      return [outcome.delivered >= plan.positions.length ? "delivered" : "partly"];
    case "replan":
    case "moved":
      return ["partly"];
    case "reopened":
      return ["failed", "log_forked"];
    case "contradiction":
      return ["failed", outcome.code as ErrorCode];
    default:
      return outcome satisfies never;
  }
}

function isDue({ outbox, clock }: TakePushDeps): boolean {
  return (outbox.nextDueAt() ?? Infinity) <= clock.now();
}

function settleVerdict(
  deps: TakePushDeps,
  plan: PlannedPush,
  log: { readonly number: number; readonly size: number },
  verdict: PushVerdict,
): PushOutcome {
  switch (verdict.status) {
    case "receipted":
      return settleReceipt(deps, plan, log.number, verdict);
    case "overtaken":
      return { status: "replan" };
    case "moved":
      return { status: "moved", shown: verdict.shown };
    case "behind":
      settleBehind(deps, log.number, verdict.size);
      return { status: "replan" };
    case "forked":
      settleFork(deps, log, verdict.index);
      return { status: "reopened", reason: "fork" };
    case "rewound":
      settleOffered(deps, plan, log.number, verdict);
      return { status: "reopened", reason: "rewound" };
    case "diverged":
      settleOffered(deps, plan, log.number, verdict);
      return { status: "replan" };
    case "contradiction":
      return { status: "contradiction", code: verdict.code };
    default:
      return verdict satisfies never;
  }
}

/** Keeps receipt and checkpoint; what is acknowledged now and was not before leaves the outbox. */
function settleReceipt(
  deps: TakePushDeps,
  plan: PlannedPush,
  log: number,
  { statement, answer, judged }: Verdict<"receipted">,
): PushOutcome {
  const { tables, outbox } = deps;
  const before = tables.pushed(log);
  const { receipt } = answer;
  keepCheckpoint(tables, judged);
  const tree = judged.checkpoint;
  const number = tables.keepLeaf({
    log,
    kind: "receipt",
    size: statement.size,
    leaf: receipt,
    tree,
  });
  const newest = before.receipt === undefined ? undefined : tables.leafPlace(before.receipt);
  // An answer that was long under way says less than one that was taken since.
  if (newest?.log === tree.origin && receipt.index < newest.index) {
    return { status: "receipted", delivered: 0, rejected: 0, more: false };
  }
  const { size, received: receivedAt } = statement;
  const { owed } = answer;
  tables.putPushed(log, { size, owed, receipt: number, receivedAt });
  const now = acknowledged(size, owed);
  const then = acknowledged(before.size, before.owed);
  const delivered = tables.outboxPositions(log, subtractRanges(now, then));
  outbox.delivered(delivered);
  const lost = subtractRanges(then, now);
  if (lost.length > 0) {
    keepLoss(deps, log, "bodies", { before: before.receipt ?? 0, receipt: number, lost });
    tables.enqueueAgain(log, lost);
  }
  const rejected = rejectRefused(deps, plan, log, answer.dispositions, owed);
  return { status: "receipted", delivered: delivered.length, rejected, more: false };
}

/** Bodies that the server will not have go to dead letters; in its receipts they stay owed. */
function rejectRefused(
  { tables, outbox }: TakePushDeps,
  plan: PlannedPush,
  log: number,
  dispositions: readonly Disposition[],
  owed: Parameters<typeof isInRanges>[0],
): number {
  const sent = new Set(plan.positions);
  let rejected = 0;
  for (const { index, disposition, code } of dispositions) {
    const refused = disposition === "rejected" || disposition === "quarantined";
    if (!refused || !isInRanges(owed, index)) continue;
    const [position] = tables.outboxPositions(log, [[index, index + 1]]);
    if (position === undefined || !sent.has(position)) continue;
    const reason = code ?? disposition;
    outbox.reject(position, { code: reason, message: meaningOf(reason), severity: "high" });
    rejected += 1;
  }
  return rejected;
}

function meaningOf(code: string): string {
  return Object.hasOwn(errorCodes, code)
    ? errorCodes[code as ErrorCode].meaning
    : "The server refused the event.";
}

/** The server has lost leaves that it had receipted: evidence, and all the more reason to push them again. */
function settleBehind(deps: TakePushDeps, log: number, size: number): void {
  const { tables } = deps;
  const before = tables.pushed(log);
  const after = { ...before, size, owed: clipRanges(before.owed, size) };
  tables.putPushed(log, after);
  const lost = subtractRanges(
    acknowledged(before.size, before.owed),
    acknowledged(size, after.owed),
  );
  keepLoss(deps, log, "leaves", { receipt: before.receipt ?? 0, before: before.size, size });
  tables.enqueueAgain(log, lost);
}

/** The branch is held: nothing of it is pushed any more, nothing of it is lost. */
function settleFork(
  deps: TakePushDeps,
  log: { readonly number: number; readonly size: number },
  index: number,
): void {
  const { tables, outbox } = deps;
  // Common leaves beyond our own receipts have no note that the other branch shares.
  const from = Math.min(index, tables.pushed(log.number).size);
  for (const position of tables.outboxPositions(log.number, [[from, log.size]])) {
    const code = "log_forked";
    outbox.reject(position, { code, message: errorCodes[code].meaning, severity: "critical" });
  }
}

/** The server holds what was offered, and beyond it what this store has not; the receipt covers both. */
function settleOffered(
  deps: TakePushDeps,
  plan: PlannedPush,
  log: number,
  { status, statement, answer, judged }: Verdict<"rewound" | "diverged">,
): void {
  const { tables, outbox } = deps;
  keepCheckpoint(tables, judged);
  const before = tables.pushed(log);
  const size = Math.min(statement.size, offeredEnd(plan.request));
  const owed = clipRanges(answer.owed, size);
  tables.putPushed(log, { ...before, size, owed });
  const now = subtractRanges(acknowledged(size, owed), acknowledged(before.size, before.owed));
  outbox.delivered(tables.outboxPositions(log, now));
  rejectRefused(deps, plan, log, answer.dispositions, owed);
  const at = deps.clock.now();
  const { text } = answer.receipt;
  tables.keepEvidence(`log_${status}/${log}/${answer.receipt.index}`, { at, receipt: text });
}

function keepLoss(
  { tables, clock }: TakePushDeps,
  log: number,
  lost: string,
  evidence: Readonly<Record<string, unknown>>,
): void {
  const at = clock.now();
  tables.keepEvidence(`server_lost_${lost}/${log}/${at}`, { code: "server_lost", at, ...evidence });
}

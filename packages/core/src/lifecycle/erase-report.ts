/**
 * What an erase says of itself: the redacted audit export before, the verdict of the scan, and the certificate after.
 * None of it holds payloads or keys.
 */
import { auditTrailTypes } from "../audit/audit-log.ts";
import { isAuditType } from "../audit/audit-events.ts";
import type { RecordedEvent } from "../event/event.ts";
import { maskToken } from "../sync/rest/http-log.ts";
import type { ErasePlace, ErasePlan } from "./erase-plan.ts";

/** Something of the store that is there after the erase. */
export interface EraseLeft {
  readonly place: ErasePlace;
  readonly name: string;
  /** Why it could not be removed, as the system says it; absent: nothing of Holdfast's, so it was not touched. */
  readonly code?: string;
}

/** A process that holds a file of the store. */
export interface EraseHandle {
  readonly pid: number;
  /** Is it the process that erases? */
  readonly own: boolean;
  readonly place: ErasePlace;
  readonly name: string;
}

/** What the scan found. */
export interface EraseScan {
  /** UTC ms. */
  readonly at: number;
  readonly left: readonly EraseLeft[];
  readonly handles: readonly EraseHandle[];
  /** Processes whose handles this one may not see; `undefined`: the system does not tell of handles at all. */
  readonly hidden: number | undefined;
  /** Registered copies of the keyring that were not to be reached. */
  readonly unreached: readonly string[];
}

/** Is nothing left? Copies on a medium that is not here are named, and do not hinder. */
export function isClean({ left, handles }: EraseScan): boolean {
  return left.length === 0 && handles.length === 0;
}

/** What the refusal says of an unclean scan: counts, and the first of it. */
export function scanDetails({
  left,
  handles,
}: EraseScan): Readonly<Record<string, string | number>> {
  const [first] = left;
  const [handle] = handles;
  return {
    left: left.length,
    handles: handles.length,
    ...(first && { file: `${first.place}/${first.name}` }),
    ...(first?.code !== undefined && { result: first.code }),
    ...(handle && { process: handle.pid, open: `${handle.place}/${handle.name}` }),
  };
}

const redacted = "[REDACTED]";

/**
 * One line of the final audit export: what happened, when, and by whom, masked. Reasons in words may hold anything
 * and are left out; facts of the trail are words, counts and ids by their schema.
 */
export function exportedLine(
  event: RecordedEvent,
  actors: ErasePlan["actors"],
): Readonly<Record<string, unknown>> {
  const { header, type, reason } = event;
  const isTrail = auditTrailTypes.includes(type);
  const facts = isTrail ? (header.pub ?? (isAuditType(type) ? event.data : undefined)) : undefined;
  return {
    position: event.position,
    leaf: event.leaf,
    id: event.id,
    kind: type,
    op: event.op,
    at: event.recordedAt,
    device: header.dev,
    incarnation: header.inc,
    sequence: header.seq,
    actor: actors === "shown" ? event.actor : maskToken(event.actor),
    why: header.why ?? null,
    reason: reason === undefined ? null : redacted,
    facts: facts ?? null,
  };
}

/** The first line of the export: whose it is. */
export function exportHead(
  plan: Pick<ErasePlan, "store" | "plannedAt" | "actors">,
  names: { readonly tenant: string; readonly device: string },
): Readonly<Record<string, unknown>> {
  const { store, plannedAt, actors } = plan;
  return { kind: "audit export before an erase", store, ...names, planned_at: plannedAt, actors };
}

/** The certificate of erasure, as a JSON value. */
export function certificateOf(plan: ErasePlan, scan: EraseScan): Readonly<Record<string, unknown>> {
  const { content } = plan;
  return {
    format: 1,
    kind: "certificate of erasure",
    store: plan.store,
    tenant: content?.tenant ?? null,
    device: content?.device ?? null,
    actor: plan.actor,
    why: plan.why,
    reason: plan.reason ?? null,
    release: plan.release,
    planned_at: plan.plannedAt,
    erased_at: scan.at,
    events: content?.events ?? null,
    logs: (content?.logs ?? []).map(({ device, incarnation, size, root }) => {
      return { device, incarnation, size, root };
    }),
    event: content?.event ?? null,
    audit_export: { file: plan.exportFile, ...content?.exported },
    removed: plan.files,
    keyring_copies: plan.copies.map((path) => {
      return { path, destroyed: !scan.unreached.includes(path) };
    }),
    last_keys: content?.lastKeys ?? null,
    providers: (content?.providers ?? []).map(({ name, assurance }) => {
      return { name, assurance, keys: providerKeys(name) };
    }),
    scan: {
      clean: isClean(scan),
      left: scan.left,
      handles: scan.handles,
      hidden_processes: scan.hidden ?? null,
    },
  };
}

/** No provider destroys a key on request: what it keeps itself opens nothing that is left, and stays. */
function providerKeys(name: string): "gone with the keyring" | "stay with the provider" {
  return name === "software" ? "gone with the keyring" : "stay with the provider";
}

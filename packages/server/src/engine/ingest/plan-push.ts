/** What a push that continues its log changes: every body gets its verdict, nothing is written yet. */
import {
  base64url,
  type Bytes,
  type Disposition,
  type ErrorCode,
  type IndexRanges,
  shreddedBy,
  noPrevious,
  tileLeaves,
} from "@holdfast/core";
import { isReadOnly } from "../caller.ts";
import type { DeviceRow, EventToPlace, ServerReads } from "../server-store.ts";
import { accessChange, isAccessEvent } from "./access.ts";
import { encodeFrames } from "./frames.ts";
import { type BodyVerdict, judgeBody } from "./judge-body.ts";
import { type Shredded, withoutShredded } from "../shredding/shredded-frames.ts";
import type { Offer, OfferedBody } from "./offer.ts";
import { holdsIndex, withIndices, withoutIndices } from "./ranges.ts";
import type { PushedLog } from "./verify-push.ts";
import type { AccessChange } from "../server-store.ts";
import { together } from "../together.ts";

export interface PushPlan {
  readonly size: number;
  readonly head: string;
  readonly owed: IndexRanges;
  readonly place: readonly EventToPlace[];
  /** Access events among `place`, by their place there. */
  readonly access: readonly { readonly at: number; readonly change: AccessChange }[];
  readonly dispositions: readonly Disposition[];
  /** Why bodies of this push go into quarantine. */
  readonly quarantined: ReadonlySet<ErrorCode>;
  /** Leaves or custody grew: there will be a new receipt. */
  readonly changed: boolean;
}

/** Throws storage codes only. */
export async function planPush(
  reads: ServerReads,
  tenant: string,
  device: DeviceRow,
  log: PushedLog,
  added: readonly Bytes[],
  offer: Offer,
): Promise<PushPlan> {
  const size = log.size + added.length;
  const place: EventToPlace[] = [];
  const access: { at: number; change: AccessChange }[] = [];
  const dispositions: Disposition[] = [];
  const quarantined = new Set<ErrorCode>();
  const taken = new Set<number>();
  // In the order of the log: fills come last in a push, and stand before its entries. Whoever pulls gets causes
  // before their effects, and need not fold a stream again.
  const judged = await judgeBodies(reads, tenant, log, offer, size);
  // An id stands for one event for ever. These events have no body here yet: whoever has their ids is another.
  const headers = judged.flatMap(headerOf);
  const [held, shreds] = await together(
    () =>
      reads.placedIds(
        tenant,
        headers.map(({ id }) => id),
      ),
    () => reads.shreds(tenant, [...new Set(headers.map(({ scope }) => scope))]),
  );
  const ids = new Set(held);
  const isShredded = shreddedBy(shreds);
  for (const { offered, verdict } of judged) {
    const { index } = offered;
    if (verdict === undefined || taken.has(index)) {
      dispositions.push({ index, disposition: "duplicate" });
      continue;
    }
    const code = "rejected" in verdict ? verdict.rejected : idConflict(ids, verdict.header.id);
    if ("rejected" in verdict || code !== undefined) {
      dispositions.push({ index, disposition: "rejected", code: code as ErrorCode });
      continue;
    }
    taken.add(index);
    const { header } = verdict;
    const custody = custodyCode(device, log, index, isAccessEvent(header));
    if (custody !== undefined) {
      quarantined.add(custody);
      dispositions.push({ index, disposition: "quarantined", code: custody });
      continue;
    }
    ids.add(header.id);
    if (isAccessEvent(header)) {
      const change = accessChange(header, index, 0);
      if (change !== undefined) access.push({ at: place.length, change });
    }
    const placed = eventToPlace(offered, log, header, isShredded);
    if (placed.shredded) dispositions.push({ index, disposition: "accepted-shredded" });
    place.push(placed.event);
  }
  const unheld: number[] = [];
  for (let index = log.size; index < size; index++) if (!taken.has(index)) unheld.push(index);
  const owed = withIndices(withoutIndices(log.owed, [...taken]), unheld);
  return {
    size,
    head: added.length === 0 ? log.head : base64url(added.at(-1) as Bytes),
    owed,
    place,
    access,
    dispositions,
    quarantined,
    changed: added.length > 0 || taken.size > 0,
  };
}

interface JudgedBody {
  readonly offered: OfferedBody;
  /** `undefined`: it is here already. */
  readonly verdict: BodyVerdict | undefined;
}

function headerOf({
  verdict,
}: JudgedBody): readonly { readonly id: string; readonly scope: string }[] {
  return verdict !== undefined && "header" in verdict ? [verdict.header] : [];
}

function idConflict(ids: ReadonlySet<string>, id: string): ErrorCode | undefined {
  return ids.has(id) ? "event_id_conflict" : undefined;
}

async function judgeBodies(
  reads: ServerReads,
  tenant: string,
  log: PushedLog,
  offer: Offer,
  size: number,
): Promise<readonly JudgedBody[]> {
  const { device, incarnation } = log;
  const stored = createLeafWindow(reads, tenant, log);
  const judged: JudgedBody[] = [];
  for (const offered of offer.bodies.toSorted((a, b) => a.index - b.index)) {
    const { index, leaf } = offered;
    if (index < log.size && !holdsIndex(log.owed, index)) {
      judged.push({ offered, verdict: undefined });
      continue;
    }
    const found = index < size ? await leavesAround(stored, log, offer, index) : undefined;
    judged.push({
      offered,
      verdict:
        found?.leaf === leaf
          ? judgeBody(offered, { tenant, device, incarnation, index, previous: found.previous })
          : { rejected: "event_leaf_wrong" },
    });
  }
  return judged;
}

/** The leaf at an index as the log has it after this push, and the one before. */
async function leavesAround(
  stored: LeafWindow,
  log: PushedLog,
  { leafTexts, request: { from } }: Offer,
  index: number,
): Promise<{ readonly leaf: string; readonly previous: string }> {
  const at = index - from;
  const offered = leafTexts[at];
  if (offered !== undefined && at > 0)
    return { leaf: offered, previous: leafTexts[at - 1] as string };
  if (offered !== undefined && index === log.size) return { leaf: offered, previous: log.head };
  const leaf = await stored(index);
  return { leaf, previous: index === 0 ? noPrevious : await stored(index - 1) };
}

/** A leaf that is here, base64url. */
type LeafWindow = (index: number) => Promise<string>;

/** Fills stand side by side mostly: their leaves are read some hundreds at a time. */
function createLeafWindow(reads: ServerReads, tenant: string, log: PushedLog): LeafWindow {
  let from = 0;
  let leaves: readonly string[] = [];
  return async (index) => {
    if (index < from || index >= from + leaves.length) {
      from = Math.max(0, index - 1);
      const to = Math.min(log.size, from + tileLeaves);
      leaves = await reads.leavesOf(tenant, log.device, log.incarnation, from, to);
    }
    return leaves[index - from] as string;
  };
}

/** Why a body is held apart from the shared view; `undefined`: it is not. */
function custodyCode(
  device: DeviceRow,
  log: PushedLog,
  index: number,
  changesAccess: boolean,
): ErrorCode | undefined {
  if (log.cutoff !== undefined && index >= log.cutoff) return "device_revoked";
  // The opening of a reading device is everybody's: its key is what others grant to.
  if (isReadOnly(device.role) && index > 0) return "role_insufficient";
  return changesAccess && device.role !== "admin" ? "role_insufficient" : undefined;
}

function eventToPlace(
  { index, leaf, body }: OfferedBody,
  log: PushedLog,
  header: {
    readonly id: string;
    readonly scope: string;
    readonly stream: string;
    readonly type?: unknown;
  },
  isShredded: Shredded,
): { readonly event: EventToPlace; readonly shredded: boolean } {
  const { id, scope, stream, type } = header;
  // Recorded before its author knew of the shred: the event stands, its content does not.
  const frames = withoutShredded(isShredded, scope, body.frames);
  const event = {
    device: log.device,
    incarnation: log.incarnation,
    index,
    leaf,
    id,
    scope,
    stream,
    // Not a frozen field: a header of a newer version may say it in another way.
    type: typeof type === "string" ? type : "",
    header: body.header,
    frames: encodeFrames(frames),
  };
  return { event, shredded: frames !== body.frames };
}

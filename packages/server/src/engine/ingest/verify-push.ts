/**
 * What a push is, before anything is written: continuation, overlap, fork or none of it. Signature and root are
 * verified here; a fork needs its signature only, because the signed note is the evidence.
 */
import {
  type Bytes,
  createStoredTree,
  createTreeBuilder,
  type Crypto,
  emptyRange,
  equalBytes,
  type Header,
  HoldfastError,
  limits,
  rangeOfNodes,
  readIncarnationPub,
  rootOf,
} from "@holdfast/core";
import {
  checkSelfAuthorised,
  checkSuccession,
  openCommitNote,
  type Opening,
  readOpening,
} from "../founding/opening.ts";
import type { DeviceLogRow, DeviceRow, ServerReads } from "../server-store.ts";
import type { Offer } from "./offer.ts";

/** The log that a push is about: one that is here, or one that it begins. */
export type PushedLog = Pick<
  DeviceLogRow,
  | "device"
  | "incarnation"
  | "algorithm"
  | "spki"
  | "opening"
  | "size"
  | "head"
  | "range"
  | "owed"
  | "cutoff"
> & {
  /** The row, once there is one. */
  readonly row: DeviceLogRow | undefined;
  /** Set when this push begins it. */
  readonly begins: { readonly opening: Opening; readonly contended: boolean } | undefined;
};

/** Finds the log, or what begins it; `undefined`: nothing is known of it and the push does not say. */
export async function findLog(
  crypto: Crypto,
  reads: ServerReads,
  tenant: string,
  device: DeviceRow,
  offer: Offer,
): Promise<PushedLog | undefined> {
  const { incarnation, from, entries } = offer.request;
  const row = await reads.deviceLog(tenant, device.device, incarnation);
  if (row !== undefined) return { ...row, row, begins: undefined };
  const first = entries[0];
  if (from !== 0 || first === undefined) return undefined;
  if (first.kind !== "full") throw new HoldfastError("opening_wrong", { part: "body" });
  const opening = readOpening(crypto, first.body.header);
  const { header, pub } = opening;
  if (header.ten !== tenant || header.dev !== device.device || header.inc !== incarnation) {
    throw new HoldfastError("opening_wrong", { part: "names" });
  }
  const others = await reads.deviceLogs(tenant, device.device);
  // Everybody is told of every log of a device.
  if (others.length >= limits.deviceLogsMax) {
    throw new HoldfastError("opening_wrong", { part: "count" });
  }
  const contended = await checkAuthority(crypto, reads, tenant, opening, others);
  return {
    device: device.device,
    incarnation,
    algorithm: pub.alg,
    spki: opening.spki,
    opening: opening.text,
    size: 0,
    head: header.prev,
    range: emptyRange,
    owed: [],
    // Whatever a revoked device opens anew is custody from its first event on.
    cutoff: device.status === "revoked" ? 0 : undefined,
    row: undefined,
    begins: { opening, contended },
  };
}

/** Throws `opening_wrong`. Answers whether another incarnation stands in the same place after its predecessor. */
async function checkAuthority(
  crypto: Crypto,
  reads: ServerReads,
  tenant: string,
  opening: Opening,
  others: readonly DeviceLogRow[],
): Promise<boolean> {
  const { predecessor } = opening.pub;
  if (predecessor === undefined) {
    checkSelfAuthorised(crypto, opening);
    return false;
  }
  const { dev } = opening.header;
  const before = await reads.deviceLog(tenant, dev, predecessor);
  if (before === undefined) throw new HoldfastError("opening_wrong", { part: "predecessor" });
  checkSuccession(crypto, opening, before);
  const place = placeOf(opening.header);
  return others.some((log) => placeOf(JSON.parse(log.opening) as Opened) === place);
}

type Opened = Readonly<Partial<Pick<Header, "pub" | "tier">>>;

/**
 * What an incarnation comes after. One that another key provider signs stands beside its predecessor, one for
 * each strength of provider; any two in one place are a device and its copy.
 */
function placeOf({ pub, tier }: Opened): string | undefined {
  const { predecessor, reason } = readIncarnationPub(pub) ?? {};
  if (predecessor === undefined) return undefined;
  return reason === "fallback" ? `${predecessor} beside ${tier ?? ""}` : predecessor;
}

/** What the leaves of a push are to those that are here. */
export type Continuation =
  /** `added`: the leaves beyond our size; none for a repetition. */
  | {
      readonly status: "continues";
      readonly added: readonly Bytes[];
      readonly range: DeviceLogRow["range"];
    }
  | { readonly status: "behind" }
  | { readonly status: "fork"; readonly index: number };

/** Throws `push_note_malformed`, `push_signature_wrong`, `push_root_wrong`, `opening_wrong`, `push_malformed`. */
export async function judgeContinuation(
  crypto: Crypto,
  reads: ServerReads,
  tenant: string,
  log: PushedLog,
  offer: Offer,
): Promise<Continuation> {
  const { from, note } = offer.request;
  const { device, incarnation, size } = log;
  const statement = openCommitNote(crypto, { tenant, device, incarnation }, log, note);
  const end = from + offer.leaves.length;
  if (from > size) return { status: "behind" };
  if (offer.leaves.length > 0 && statement.size !== end) {
    throw new HoldfastError("push_note_malformed", { part: "size" });
  }
  const overlap = Math.min(size, end);
  const held = await reads.leavesOf(tenant, device, incarnation, from, overlap);
  const differs = held.findIndex((leaf, at) => leaf !== offer.leafTexts[at]);
  if (differs >= 0) return { status: "fork", index: from + differs };
  if (statement.size > Math.max(size, end)) return { status: "behind" };
  if (size === 0) checkFirstLeaf(crypto, log, offer);
  const added = offer.leaves.slice(overlap - from);
  const range =
    added.length > 0
      ? grown(crypto, log.range, added)
      : await heldRange(crypto, reads, { tenant, device, incarnation }, statement.size);
  if (!equalBytes(rootOf(crypto, range), statement.root)) {
    throw new HoldfastError("push_root_wrong", { size: statement.size });
  }
  return { status: "continues", added, range: added.length > 0 ? range : log.range };
}

/** The tree of the first `size` leaves that are here. */
function heldRange(
  crypto: Crypto,
  reads: ServerReads,
  log: { readonly tenant: string; readonly device: string; readonly incarnation: string },
  size: number,
): Promise<DeviceLogRow["range"]> {
  const { tenant, device, incarnation } = log;
  const tree = createStoredTree(crypto, size, (spans) =>
    reads.deviceHashes(tenant, device, incarnation, spans),
  );
  return tree.prove((_, hashOf) => rangeOfNodes(size, hashOf));
}

/** An enrolled log begins with the opening that enrolled it. */
function checkFirstLeaf(crypto: Crypto, log: PushedLog, offer: Offer): void {
  const [first] = offer.leafTexts;
  if (first === undefined) throw new HoldfastError("push_malformed", { part: "entries" });
  if (first !== readOpening(crypto, log.opening).leaf) {
    throw new HoldfastError("opening_wrong", { part: "leaf" });
  }
}

function grown(
  crypto: Crypto,
  range: DeviceLogRow["range"],
  added: readonly Bytes[],
): DeviceLogRow["range"] {
  const builder = createTreeBuilder(crypto, range);
  for (const leaf of added) builder.append(leaf);
  return builder.range();
}

/** The first words of a device log, a device's or a node's own: read and checked, then enrolled. */
import {
  type Bytes,
  checkInclusion,
  emptyRange,
  HoldfastError,
  isHoldfastError,
  noPrevious,
  noteDigest,
  type Role,
} from "@holdfast/core";
import type { EngineDeps, ServerNode } from "../engine-deps.ts";
import { statementText } from "../log/statements.ts";
import type { DeviceLogRow, ServerWrites } from "../server-store.ts";
import { checkSelfAuthorised, openCommitNote, type Opening, readOpening } from "./opening.ts";

/** The first words of a device log, as enrolment takes them. */
export interface FirstWords {
  readonly opening: string;
  readonly note: string;
  /** Inclusion path of index 0 in the note's tree. */
  readonly path: readonly Bytes[];
}

/** First words that are right by themselves. */
export interface ReadWords {
  readonly opening: Opening;
  readonly noteDigest: string;
}

/** Reads them. Throws `opening_wrong`. */
export function readFirstWords({ crypto }: EngineDeps, words: FirstWords): ReadWords {
  const opening = readOpening(crypto, words.opening);
  checkSelfAuthorised(crypto, opening);
  checkFirstNote(crypto, opening, words);
  return { opening, noteDigest: noteDigest(crypto, words.note) };
}

/** Words with which a device is enrolled, and as what. */
export interface EnrolledWords extends ReadWords {
  readonly role: Role;
  /** Digest of the code; only a node has none. */
  readonly code: string | undefined;
  readonly binding: string | undefined;
}

/** The words of the server's own node. Throws `opening_wrong`. */
export function readNodeWords(deps: EngineDeps, tenant: string, node: ServerNode): EnrolledWords {
  const words = readFirstWords(deps, node);
  const { ten, dev } = words.opening.header;
  if (ten !== tenant || dev !== node.device) {
    throw new HoldfastError("opening_wrong", { part: "node" });
  }
  return { ...words, role: "device", code: undefined, binding: undefined };
}

/** Is the opening the first leaf of the log that the note states? Throws `opening_wrong`. */
function checkFirstNote(crypto: EngineDeps["crypto"], opening: Opening, words: FirstWords): void {
  const { header, pub, spki, leafBytes } = opening;
  const log = { tenant: header.ten, device: header.dev, incarnation: header.inc };
  try {
    const { size, root } = openCommitNote(crypto, log, { algorithm: pub.alg, spki }, words.note);
    const claim = { leaf: leafBytes, index: 0, size, root, path: words.path };
    if (checkInclusion(crypto, claim)) return;
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
    throw new HoldfastError("opening_wrong", { part: "note" }, { cause: error });
  }
  throw new HoldfastError("opening_wrong", { part: "path" });
}

/** Adds the device and its log; `node` states it. */
export async function addEnrolled(
  deps: EngineDeps,
  tx: ServerWrites,
  words: EnrolledWords,
  node: string,
): Promise<void> {
  const { role, code, binding, opening } = words;
  const { ten: tenant, dev: device } = opening.header;
  const at = deps.clock.now();
  await tx.addDevice(tenant, { device, role, status: "active", enrolledAt: at, code, binding });
  const { noteDigest: note } = words;
  await openDeviceLog(deps, tx, { opening, noteDigest: note, at, cutoff: undefined, node });
}

/** Begins to take a device log: its row, still empty, and the `enrol` leaf. */
export async function openDeviceLog(
  deps: EngineDeps,
  tx: ServerWrites,
  begun: {
    readonly opening: Opening;
    readonly noteDigest: string;
    readonly at: number;
    readonly cutoff: number | undefined;
    /** Device id of the node that states it. */
    readonly node: string;
  },
): Promise<DeviceLogRow> {
  const { opening, at, cutoff, node } = begun;
  const { ten: tenant, dev: device, inc: incarnation } = opening.header;
  const row = await tx.tenant(tenant);
  if (row === undefined) throw new HoldfastError("caller_unknown");
  const text = statementText(deps.crypto, {
    kind: "enrol",
    tenant,
    device,
    incarnation,
    size: 1,
    root: opening.leafBytes,
    note: begun.noteDigest,
    owed: [],
    received: at,
    node,
  });
  const log: DeviceLogRow = {
    device,
    incarnation,
    algorithm: opening.pub.alg,
    spki: opening.spki,
    hpke: opening.pub.hpke,
    opening: opening.text,
    size: 0,
    head: noPrevious,
    range: emptyRange,
    note: undefined,
    receipt: undefined,
    receivedAt: at,
    enrolment: await tx.addServerLeaves(row.shard, [text]),
    revocation: undefined,
    owed: [],
    cutoff,
  };
  await tx.addDeviceLog(tenant, log);
  return log;
}

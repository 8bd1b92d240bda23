/**
 * Judging a pull page before anything of it is stored: whose logs, by which receipts, and that every event is
 * in the log that its note signs. Pure; the answer is either everything or the first thing that is wrong.
 */
import { noPrevious, originKey, type Header } from "../event/event.ts";
import { isCurrentHeader, type NewerHeader, parseHeader } from "../event/header.ts";
import { deviceLogOrigin } from "../proof/checkpoint.ts";
import { preAuthenticationEncoding } from "../proof/dsse.ts";
import { checkInclusions, type PlacedLeaf } from "../proof/multiproof.ts";
import { openSignedCheckpoint, type PublicKey, publicKeyOf } from "../proof/server-key.ts";
import { incarnationOpenedType } from "../event/system.ts";
import {
  checkProvenLeaf,
  type DeviceStatement,
  noteDigest,
  parseStatement,
  type ProvenLeaf,
} from "../proof/server-leaf.ts";
import { verifySignature } from "../proof/signature.ts";
import { checkConsistency, leafHash } from "../proof/tree.ts";
import {
  deviceId,
  type IncarnationPub,
  readIncarnationPub,
  successionPayloadType,
  successionStatement,
} from "../seal/incarnation.ts";
import type { SealedEvent } from "../seal/sealed-event.ts";
import { base64, base64url, type Bytes, fromBase64, utf8 } from "../std/bytes.ts";
import { type ErrorCode, isHoldfastError } from "../std/errors.ts";
import type { Crypto } from "../std/ports.ts";
import { limits } from "../std/limits.ts";
import type { PulledEvent, PulledLog, PullPage, PullRequest } from "./messages/pull.ts";
import { type JudgedCheckpoint, judgeCheckpoint, type ServerLogView } from "./server-log-view.ts";
import type { ShownLog } from "./sync-store.ts";
import type { NewerEvent } from "./newer-event.ts";
import { judgeFrames, type OpenableKeys } from "./judge-frames.ts";

/** What is known when a page arrives. */
export interface PageView extends ServerLogView {
  readonly keyring: OpenableKeys;
  readonly tenant: string;
  /** Newest note held of a device log: of a foreign one what was pulled, of an own one what was sealed. */
  newestNote(
    device: string,
    incarnation: string,
  ): { readonly size: number; readonly root: Bytes } | undefined;
  /** Root that is held of a device log at that size. */
  rootAt(device: string, incarnation: string, size: number): string | undefined;
  /** The key of a device log whose opening is held. */
  keyOf(device: string, incarnation: string): PublicKey | undefined;
  isOwn(device: string, incarnation: string): boolean;
  /** Size of the newest note that is held of a log of which a restored server has less; `undefined`: it has not. */
  lostSize(device: string, incarnation: string): number | undefined;
}

/** A device log of a page, proven. */
export interface JudgedLog {
  readonly device: string;
  readonly incarnation: string;
  readonly own: boolean;
  readonly opening: SealedEvent;
  readonly size: number;
  readonly root: string;
  readonly note: string;
  readonly receipt: { readonly leaf: ProvenLeaf; readonly statement: DeviceStatement };
  readonly enrolment: ProvenLeaf;
  /** Indices that `hashes` prove, 0 among them. */
  readonly indices: readonly number[];
  readonly hashes: readonly Bytes[];
  /** Size of the note that was held before; 0: none. */
  readonly before: number;
  readonly consistency: readonly Bytes[];
  /** A restored server has less of it than is held here. */
  readonly behind: boolean;
}

/** A page, proven. */
export interface JudgedPage {
  readonly judged: JudgedCheckpoint;
  readonly logs: readonly JudgedLog[];
  /** In order of position. */
  readonly events: readonly SealedEvent[];
  /** Sections that do not open under a key that is held. */
  readonly unopened: readonly UnopenedSection[];
  /** Events whose headers this software cannot read: proven, and nothing else is known of them. */
  readonly newer: readonly NewerEvent[];
}

/** A section that does not open under its key. */
export interface UnopenedSection {
  readonly leaf: string;
  readonly section: string;
}

export type PageVerdict =
  | { readonly status: "verified"; readonly page: JudgedPage }
  | { readonly status: "overtaken" }
  | { readonly status: "moved"; readonly shown: ShownLog }
  /** A restored server has those logs again as far as they are held here: asked again, it can prove it. */
  | { readonly status: "returned"; readonly logs: readonly ReturnedName[] }
  | {
      readonly status: "refused";
      readonly code: ErrorCode;
      /** What is wrong, for the evidence: `event 3`, `log 1`. */
      readonly object: string;
    };

/** A device log, by its names. */
export interface ReturnedName {
  readonly device: string;
  readonly incarnation: string;
}

/** Thrown inside this module only: a page is refused at the first thing that is wrong. */
class Refusal extends Error {
  readonly code: ErrorCode;
  readonly object: string;
  constructor(code: ErrorCode, object: string) {
    super(code);
    this.code = code;
    this.object = object;
  }
}

/** Thrown inside this module only: another exchange has moved on what the request named. */
class Overtaken extends Error {}

function refuse(object: string, code: ErrorCode = "server_page_wrong"): never {
  throw new Refusal(code, object);
}

/** Judges the page that answers that request. */
export function judgePage(view: PageView, request: PullRequest, page: PullPage): PageVerdict {
  try {
    checkShape(request, page);
    const verdict = judgeCheckpoint(view, {
      note: page.checkpoint,
      consistency: page.consistency,
      named: request.checkpoint,
    });
    if (verdict.status === "overtaken") return { status: "overtaken" };
    if (verdict.status === "moved") {
      return { status: "moved", shown: { log: verdict.log, checkpoint: verdict.note } };
    }
    if (verdict.status === "refused") refuse("checkpoint", verdict.code);
    const { judged } = verdict;
    const read = page.events.map((event, at) => readEvent(view, request, page, event, at));
    const openings = page.logs.map((log, at) => readOpening(view, log, at));
    const returned = page.logs.filter((log, at) => hasReturned(view, request, log, openings[at]));
    if (returned.length > 0) return { status: "returned", logs: returned };
    const logs = page.logs.map((log, at) =>
      judgeLog(view, judged, page, { request, log, at, read, openings }),
    );
    const events = read.flatMap(({ sealed }) => sealed ?? []);
    const unopened = read.flatMap(({ sealed, unopened: sections }) =>
      sections.map((section) => ({ leaf: sealed?.leaf ?? "", section })),
    );
    const newer = read.flatMap((event) => event.newer ?? []);
    return { status: "verified", page: { judged, logs, events, unopened, newer } };
  } catch (error) {
    if (error instanceof Overtaken) return { status: "overtaken" };
    if (!(error instanceof Refusal)) throw error;
    return { status: "refused", code: error.code, object: error.object };
  }
}

function checkShape(request: PullRequest, { next, head, logs, events }: PullPage): void {
  const end = Math.max(head, request.after);
  if (!isCount(next) || !isCount(head) || next < request.after || next > end) refuse("next");
  if (events.length > request.events || logs.length > limits.pullOriginsMax) refuse("count");
  let before = request.after;
  for (const [at, { position }] of events.entries()) {
    if (!isCount(position) || position <= before || position > next) refuse(`event ${at}`);
    before = position;
  }
  const names = logs.map(({ device, incarnation }) => originKey(device, incarnation));
  if (new Set(names).size !== names.length) refuse("logs");
}

/** An event of the page with its place. */
interface ReadEvent {
  /** `undefined`: its header is of a newer version. */
  readonly sealed: SealedEvent | undefined;
  readonly newer?: NewerEvent;
  readonly placed: PlacedLeaf;
  readonly log: number;
  readonly unopened: readonly string[];
}

function readEvent(
  view: PageView,
  request: PullRequest,
  page: PullPage,
  { log, index, position, body }: PulledEvent,
  at: number,
): ReadEvent {
  const object = `event ${at}`;
  const of = page.logs[log];
  if (of === undefined) refuse(object);
  const { header, leaf } = readHeader(view, body.header, object);
  const belongs =
    header.ten === view.tenant &&
    header.dev === of.device &&
    header.inc === of.incarnation &&
    header.seq === index + 1;
  if (!belongs) refuse(object);
  if (request.scopes !== "*" && !request.scopes.includes(header.scope)) refuse(object);
  if (!isCurrentHeader(header)) {
    const { dev: device, inc: incarnation, v, scope, stream } = header;
    const names = { device, incarnation, index, leaf: base64url(leaf), v, scope, stream };
    return {
      sealed: undefined,
      newer: { ...names, position },
      placed: { index, leaf },
      log,
      unopened: [],
    };
  }
  const { fault, unopened } = judgeFrames(view, header, leaf, body);
  if (fault !== undefined) refuse(`${object}: ${fault}`);
  const sealed = { leaf: base64url(leaf), header, headerText: body.header, frames: body.frames };
  return { sealed, placed: { index, leaf }, log, unopened };
}

function readHeader(
  view: PageView,
  headerText: string,
  object: string,
): { readonly header: Header | NewerHeader; readonly leaf: Bytes } {
  try {
    const header = parseHeader(headerText);
    return { header, leaf: leafHash(view.crypto, utf8(headerText)) };
  } catch (error) {
    if (isHoldfastError(error, "header_invalid")) refuse(object);
    throw error;
  }
}

/** An opening whose form holds; who vouches for its key is judged with the log. */
interface ReadOpening {
  readonly sealed: SealedEvent;
  readonly leaf: Bytes;
  readonly pub: IncarnationPub;
  readonly key: PublicKey;
}

function readOpening(view: PageView, log: PulledLog, at: number): ReadOpening {
  const object = `opening ${at}`;
  const { header, leaf } = readHeader(view, log.opening, object);
  // A server takes a log only when it reads its key in the opening.
  if (!isCurrentHeader(header)) refuse(object, "header_newer");
  const isOpening =
    header.type === incarnationOpenedType &&
    header.ten === view.tenant &&
    header.dev === log.device &&
    header.inc === log.incarnation &&
    header.seq === 1 &&
    header.prev === noPrevious &&
    Object.keys(header.sec).length === 0;
  const pub = isOpening ? readIncarnationPub(header.pub) : undefined;
  const key = pub === undefined ? undefined : publicKeyOf(pub.spki);
  if (pub === undefined || key?.algorithm !== pub.alg) refuse(object);
  const sealed = { leaf: base64url(leaf), header, headerText: log.opening, frames: [] };
  return { sealed, leaf, pub, key };
}

interface LogInPage {
  readonly request: PullRequest;
  readonly log: PulledLog;
  readonly at: number;
  readonly read: readonly ReadEvent[];
  readonly openings: readonly ReadOpening[];
}

function judgeLog(
  view: PageView,
  judged: JudgedCheckpoint,
  page: PullPage,
  { request, log, at, read, openings }: LogInPage,
): JudgedLog {
  const { crypto, tenant } = view;
  const { device, incarnation, note } = log;
  const object = `log ${at}`;
  const opening = openings[at];
  if (opening === undefined) refuse(object);
  const origin = deviceLogOrigin({ tenant, device, incarnation });
  const signed = openSignedCheckpoint(crypto, note, opening.key);
  if (signed?.origin !== origin) refuse(`${object}: note`);
  const { size } = signed;
  const root = base64(signed.root);
  const receipt = readStatement(crypto, judged, log.receipt, `${object}: receipt`);
  const receipted =
    receipt.kind === "receipt" &&
    receipt.origin === origin &&
    receipt.size === size &&
    receipt.root === root &&
    receipt.note === noteDigest(crypto, note);
  if (!receipted) refuse(`${object}: receipt`, "server_receipt_wrong");
  const enrolment = readStatement(crypto, judged, log.enrolment, `${object}: enrolment`);
  const enrolled =
    enrolment.kind === "enrol" &&
    enrolment.origin === origin &&
    enrolment.size === 1 &&
    enrolment.root === base64(opening.leaf);
  if (!enrolled) refuse(`${object}: enrolment`, "server_receipt_wrong");
  checkAuthority(view, page, opening, openings, object);
  const placed = new Map<number, Uint8Array>([[0, opening.leaf]]);
  for (const { placed: own, log: of } of read) {
    if (of !== at) continue;
    const known = placed.get(own.index);
    if (known !== undefined && base64(known) !== base64(own.leaf)) refuse(object);
    if (known !== undefined && own.index !== 0) refuse(object);
    placed.set(own.index, own.leaf);
  }
  const leaves = [...placed]
    .map(([index, leaf]): PlacedLeaf => ({ index, leaf }))
    .toSorted((a, b) => a.index - b.index);
  if (!checkInclusions(crypto, { leaves, size, root: signed.root, hashes: log.hashes })) {
    refuse(`${object}: inclusion`);
  }
  return {
    device,
    incarnation,
    own: view.isOwn(device, incarnation),
    behind: size < (view.lostSize(device, incarnation) ?? 0),
    opening: opening.sealed,
    size,
    root,
    note,
    receipt: { leaf: log.receipt, statement: receipt },
    enrolment: log.enrolment,
    indices: leaves.map(({ index }) => index),
    hashes: log.hashes,
    ...checkContinuation(view, request, log, { size, root: signed.root }, object),
  };
}

/** Does its note reach what a restored server had lost of the log, and the page not join the two? */
function hasReturned(
  view: PageView,
  request: PullRequest,
  { device, incarnation, note }: PulledLog,
  opening: ReadOpening | undefined,
): boolean {
  const lost = view.lostSize(device, incarnation);
  if (lost === undefined || opening === undefined) return false;
  const signed = openSignedCheckpoint(view.crypto, note, opening.key);
  const named = request.held[originKey(device, incarnation)];
  return (signed?.size ?? 0) >= lost && named !== lost;
}

function readStatement(
  crypto: Crypto,
  judged: JudgedCheckpoint,
  leaf: ProvenLeaf,
  object: string,
): DeviceStatement {
  if (!checkProvenLeaf(crypto, leaf, judged.checkpoint)) refuse(object, "server_receipt_wrong");
  try {
    return parseStatement(leaf.text);
  } catch (error) {
    if (isHoldfastError(error, "server_leaf_malformed")) refuse(object, "server_receipt_wrong");
    throw error;
  }
}

/** The log in the page continues what is held of it. */
function checkContinuation(
  view: PageView,
  request: PullRequest,
  log: PulledLog,
  now: { readonly size: number; readonly root: Bytes },
  object: string,
): { readonly before: number; readonly consistency: readonly Bytes[] } {
  const { device, incarnation, consistency } = log;
  const held = view.newestNote(device, incarnation);
  if (held === undefined) return { before: 0, consistency: [] };
  if (held.size >= now.size) {
    // An earlier note that is known to be of the same tree, as of an own log.
    const known = view.rootAt(device, incarnation, now.size);
    if (known === base64(now.root)) return { before: held.size, consistency: [] };
    refuse(object, "server_log_rewound");
  }
  const continues = checkConsistency(view.crypto, {
    oldSize: held.size,
    oldRoot: held.root,
    newSize: now.size,
    newRoot: now.root,
    path: consistency,
  });
  const named = request.held[originKey(device, incarnation)] ?? 0;
  if (!continues && named !== held.size) throw new Overtaken();
  if (!continues) refuse(object, "server_log_rewound");
  return { before: held.size, consistency };
}

/**
 * On whose authority the key signs. The first key of a device names it. A later one is signed by the key of
 * the predecessor, where that log is known here, or by the server; where it is not, the enrolment leaf stands
 * for it.
 */
function checkAuthority(
  view: PageView,
  page: PullPage,
  opening: ReadOpening,
  openings: readonly ReadOpening[],
  object: string,
): void {
  const { pub, key, sealed } = opening;
  const { dev, inc, ten } = sealed.header;
  if (pub.predecessor === undefined) {
    if (deviceId(view.crypto, key.spki) !== dev) refuse(`${object}: device`);
    return;
  }
  const { predecessor, size, root, sig } = pub;
  const beside = page.logs.findIndex(
    (other) => other.device === dev && other.incarnation === predecessor,
  );
  const before = view.keyOf(dev, predecessor) ?? openings[beside]?.key;
  if (before === undefined) return;
  const statement = successionStatement({
    tenant: ten,
    device: dev,
    incarnation: inc,
    spki: key.spki,
    predecessor,
    size: size ?? 0,
    root: root ?? "",
  });
  const message = preAuthenticationEncoding(successionPayloadType, statement);
  const signature = fromBase64(sig ?? "") ?? new Uint8Array(0);
  const signers = [before, publicKeyOf(view.server.key)];
  const holds = signers.some(
    (signer) =>
      signer !== undefined &&
      verifySignature(view.crypto, signer.algorithm, signer.spki, message, signature),
  );
  if (!holds) refuse(`${object}: succession`);
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

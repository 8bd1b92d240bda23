/** Storing a judged page: everything that proves it, then the position, in one transaction of the caller's. */
import { originKey } from "../event/event.ts";
import { headerVersion } from "../event/header.ts";
import { accessGrantedType } from "../event/system.ts";
import { framesLeft, type SealedEvent } from "../seal/sealed-event.ts";
import type { Crypto } from "../std/ports.ts";
import { extendPulled } from "../store/pulled.ts";
import type { SqliteDriver } from "../store/sqlite-driver.ts";
import type { AppendParticipant, SqliteEventLog } from "../store/sqlite-event-log.ts";
import type { ShredTable } from "../store/shreds.ts";
import type { StreamHead } from "../store/stream-heads.ts";
import type { JudgedCheckpoint } from "./server-log-view.ts";
import { keepCheckpoint } from "./server-log-view.ts";
import type { PullPage, PullRequest } from "./messages/pull.ts";
import type { JudgedLog, JudgedPage } from "./judge-page.ts";
import { fetchGranted, fetchReadable, movePulls } from "./plan-pull.ts";
import { mainLog, type SyncTables } from "./sync-tables.ts";
import { endOwn, keepRejoined, takeOwn } from "./take-own.ts";

export interface TakePullDeps {
  readonly crypto: Crypto;
  readonly driver: SqliteDriver;
  readonly log: SqliteEventLog;
  readonly tables: SyncTables;
  readonly participants: readonly AppendParticipant[];
  /** Device of this store. */
  readonly device: string;
}

/** What storing a page did. */
export interface StoredPage {
  readonly events: number;
  readonly more: boolean;
  /** Heads of the streams that it moved on. */
  readonly heads: ReadonlyMap<string, StreamHead>;
}

/** Stores a page in the caller's transaction. Throws `event_id_conflict`. */
export function storePage(
  deps: TakePullDeps,
  request: PullRequest,
  page: PullPage,
  shown: JudgedPage,
): StoredPage {
  const { tables } = deps;
  const judged = withoutShredded(deps.log.shreds, shown);
  const foreign = judged.logs.filter(({ own, behind }) => !own && !behind);
  const names = new Set(foreign.map(({ device, incarnation }) => originKey(device, incarnation)));
  const events = judged.events.filter((event) => names.has(nameOf(event)));
  keepCheckpoint(tables, judged.judged);
  // The opening of a log is kept with the first page of it: it says whose key signs the notes.
  const openings = foreign.map(({ opening }) => opening);
  const rejoined = request.own === true ? takeOwn(deps, judged) : [];
  const offered = [...openings, ...events, ...rejoined.flatMap((log) => log.events)];
  const { appended, heads } = deps.log.appendForeignWithin(distinct(offered), deps.participants);
  const stored = new Set(appended.map(({ sealed }) => sealed.leaf));
  for (const log of foreign) keepLog(tables, judged.judged, log, events, stored);
  for (const log of rejoined) keepRejoined(tables, judged.judged, log);
  const ofOthers = appended.filter(({ sealed }) => names.has(nameOf(sealed)));
  if (ofOthers.length > 0) {
    const leaves = ofOthers.map(({ sealed }) => sealed.leaf);
    extendPulled(deps.crypto, deps.driver, leaves);
  }
  const isFirst = request.after === 0 && request.scopes === "*" && request.own !== true;
  if (isFirst) tables.put("pull_began", String(page.head));
  tables.put("pull_head", String(page.head));
  movePulls(tables, request, page.next);
  fetchNewScopes(deps, page, judged, stored);
  let noted = 0;
  for (const event of judged.newer) {
    if (names.has(originKey(event.device, event.incarnation)) && tables.putNewer(event)) noted += 1;
  }
  if (tables.newerCount() > noted) {
    for (const { sealed } of appended) {
      const { dev, inc, seq } = sealed.header;
      tables.dropNewer(dev, inc, seq - 1);
    }
  }
  noteBehind(deps, request, judged);
  fetchReadable(tables, headerVersion);
  for (const { leaf, section } of judged.unopened) {
    if (stored.has(leaf)) tables.putUnopened(leaf, section);
  }
  if (request.own === true && page.next >= page.head) {
    endOwn(deps, page.head, mainLog(tables.ownLogs())?.incarnation ?? "");
  }
  const isBehind = tables.pulls().some(({ position }) => position < page.head);
  const hasMoved = page.next > request.after;
  return { events: appended.length + noted, more: isBehind && hasMoved, heads };
}

/** A late event of what is shredded comes without its content: nobody here may keep it. */
function withoutShredded(
  shreds: Pick<ShredTable, "any" | "isShredded">,
  page: JudgedPage,
): JudgedPage {
  if (!shreds.any()) return page;
  const events = page.events.map((event) => {
    const { scope } = event.header;
    return {
      ...event,
      frames: framesLeft(event.frames, (section) => shreds.isShredded(scope, section)),
    };
  });
  return { ...page, events };
}

function nameOf({ header }: SealedEvent): string {
  return originKey(header.dev, header.inc);
}

function distinct(events: readonly SealedEvent[]): readonly SealedEvent[] {
  return [...new Map(events.map((event) => [event.leaf, event])).values()];
}

/** Keeps the note of a device log with its proofs, unless the page brought nothing new of it. */
function keepLog(
  tables: SyncTables,
  { checkpoint }: JudgedCheckpoint,
  log: JudgedLog,
  events: readonly SealedEvent[],
  stored: ReadonlySet<string>,
): void {
  const number = tables.log(log.device, log.incarnation)?.number ?? 0;
  const { size, root, note, before, receipt, enrolment } = log;
  const isNewNote = tables.noteAt(number, size) === undefined;
  if (isNewNote) {
    tables.addNote(number, { size, root, note });
    if (before > 0) tables.addNoteLink(number, before, size, log.consistency);
  }
  const tree = checkpoint;
  tables.keepLeaf({ log: number, kind: "receipt", size, leaf: receipt.leaf, tree });
  if (!tables.hasLeaf(number, "enrol")) {
    tables.keepLeaf({ log: number, kind: "enrol", size: 1, leaf: enrolment, tree });
  }
  const isNew =
    stored.has(log.opening.leaf) ||
    events.some(
      ({ leaf, header }) =>
        header.dev === log.device && header.inc === log.incarnation && stored.has(leaf),
    );
  if (isNew) tables.addProof(number, size, log.indices, log.hashes);
}

/** Nothing joins the note of a log that is behind to what is held of it: what is new there is fetched later. */
function noteBehind({ log, tables }: TakePullDeps, request: PullRequest, judged: JudgedPage): void {
  for (const { device, incarnation, behind } of judged.logs) {
    const lost = behind ? tables.lostLog(device, incarnation) : undefined;
    if (lost === undefined) continue;
    const isNew = judged.events.some(
      ({ header, leaf }) =>
        header.dev === device && header.inc === incarnation && log.byLeaf(leaf) === undefined,
    );
    const from = Math.min(lost.from ?? Infinity, request.after);
    if (isNew) tables.putLost(device, incarnation, { ...lost, from });
  }
}

/** An event that comes again, as those do that grant the scope they stand in, starts nothing anew. */
function fetchNewScopes(
  { tables, device }: TakePullDeps,
  page: PullPage,
  judged: JudgedPage,
  stored: ReadonlySet<string>,
): void {
  for (const [at, { header, leaf }] of judged.events.entries()) {
    if (!stored.has(leaf)) continue;
    if (header.type !== accessGrantedType || header.pub?.["device"] !== device) continue;
    const scopes = header.pub["scopes"] as readonly string[];
    fetchGranted(tables, { scopes, position: page.events[at]?.position ?? 0 });
  }
}

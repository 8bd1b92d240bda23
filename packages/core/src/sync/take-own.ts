/**
 * Own events that only the server has: what a device had delivered before it was put back to an older copy.
 *
 * Once such a device has opened its new incarnation, it asks for everything from the beginning, its own events as
 * well (`own` of a pull). They are judged like foreign ones. An own log has no gaps and ends at a note, so that
 * what came is laid aside, page by page, until everything between this store's end of the log and the receipted
 * note is here and gives the root that the note signs. Where the server never had a body in between, the log
 * cannot be joined: it stays as it is, with evidence.
 */
import { isCurrentHeader, parseHeader } from "../event/header.ts";
import { createTreeBuilder, emptyRange, leafHash } from "../proof/tree.ts";
import { readIncarnationPub } from "../seal/incarnation.ts";
import type { Frame, SealedEvent } from "../seal/sealed-event.ts";
import { base64, base64url, fromBase64, fromBase64url, utf8 } from "../std/bytes.ts";
import { invariant } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { Crypto } from "../std/ports.ts";
import type { SqliteDriver } from "../store/sqlite-driver.ts";
import type { SqliteEventLog } from "../store/sqlite-event-log.ts";
import { localValues } from "./local-values.ts";
import type { JudgedLog, JudgedPage } from "./judge-page.ts";
import type { JudgedCheckpoint } from "./server-log-view.ts";
import { type KnownLog, mainLog, type SyncTables } from "./sync-tables.ts";

/** Row of the table `pulls` while own events are fetched; no scope has this name. */
export const ownRow = "own";
const takenName = "own_taken";
const asidePrefix = "own_aside/";
const asideName = (log: number, index: number): string =>
  `${asidePrefix}${log}/${String(index).padStart(16, "0")}`;

/** Why an incarnation was opened over a log that had gone on elsewhere. */
const putBack: ReadonlySet<string> = new Set(["restored", "rollback-accepted"]);

export interface TakeOwnDeps {
  readonly crypto: Crypto;
  readonly driver: SqliteDriver;
  readonly log: SqliteEventLog;
  readonly tables: SyncTables;
}

/** An own log that goes on here with what the server had of it. */
export interface RejoinedLog {
  readonly known: KnownLog;
  readonly log: JudgedLog;
  /** In the order of the log. */
  readonly events: readonly SealedEvent[];
}

/** From which position own events are to be fetched; `undefined`: nothing was lost, or all is fetched. */
export function ownWanted(tables: SyncTables): number | undefined {
  const newest = mainLog(tables.ownLogs());
  if (newest === undefined || tables.value(takenName) === newest.incarnation) return undefined;
  const opening = JSON.parse(tables.opening(newest.number) ?? "{}") as { readonly pub?: unknown };
  if (!putBack.has(readIncarnationPub(opening.pub)?.reason ?? "")) return undefined;
  // Where the copy stood when it was made, nobody knows: what it misses may be anywhere.
  return tables.pulls().find(({ scope }) => scope === ownRow)?.position ?? 0;
}

/** Everything up to `head` was fetched: what is still aside cannot be joined. */
export function endOwn({ driver, tables }: TakeOwnDeps, head: number, at: string): void {
  const values = localValues(driver);
  const left = values.list(asidePrefix);
  for (const { name } of left) values.remove(name);
  if (left.length > 0) tables.keepEvidence(`own_incomplete/${at}`, { events: left.length, head });
  tables.put(takenName, at);
  tables.dropPull(ownRow);
}

/** Lays own events of a judged page aside; the logs that are whole with them, to be appended. */
export function takeOwn(deps: TakeOwnDeps, page: JudgedPage): readonly RejoinedLog[] {
  const { tables } = deps;
  return page.logs.flatMap((log) => {
    const known = tables.log(log.device, log.incarnation);
    if (known?.own !== 1) return [];
    const size = tables.lastSequence(known.number);
    const lost = log.size - size;
    if (lost <= 0 || lost > limits.ownEventsTakenMax) return [];
    layAside(deps, known, size, page);
    const events = whole(deps, known, size, log);
    return events === undefined ? [] : [{ known, log, events }];
  });
}

function layAside(deps: TakeOwnDeps, known: KnownLog, size: number, page: JudgedPage): void {
  const values = localValues(deps.driver);
  for (const { header, headerText, frames } of page.events) {
    if (header.dev !== known.device || header.inc !== known.incarnation) continue;
    if (header.seq <= size) continue;
    values.set(asideName(known.number, header.seq - 1), bodyText(headerText, frames));
  }
}

/** What is aside of a log, if it joins this store's end of it to the note. */
function whole(
  { crypto, driver, log: stored, tables }: TakeOwnDeps,
  known: KnownLog,
  size: number,
  log: JudgedLog,
): readonly SealedEvent[] | undefined {
  const values = localValues(driver);
  const prefix = `${asidePrefix}${known.number}/`;
  if (values.count(prefix) !== log.size - size) return undefined;
  const aside = values.list(prefix);
  const state = stored.deviceLog(known.device, known.incarnation);
  // Salvage may have found nothing of it.
  const tree = createTreeBuilder(crypto, state?.head.range ?? emptyRange);
  const events = aside.map(({ value }) => readBody(crypto, value));
  for (const { leaf } of events) tree.append(fromBase64url(leaf) as Uint8Array<ArrayBuffer>);
  // Another branch of the log, or an event under an id that was recorded anew here, does not join.
  const joins = base64(tree.root()) === log.root;
  const isNew = events.every(({ header }) => stored.byId(header.id) === undefined);
  if (!joins || !isNew) {
    tables.keepEvidence(`own_branch/${log.incarnation}`, { size: log.size, note: log.note });
    return undefined;
  }
  for (const { name } of aside) values.remove(name);
  return events;
}

/** Keeps what makes the log whole: its note, the receipt, and that nothing of it is to be pushed again. */
export function keepRejoined(
  tables: SyncTables,
  { checkpoint }: JudgedCheckpoint,
  { known, log, events }: RejoinedLog,
): void {
  const { number } = known;
  const { size, root, note, receipt } = log;
  tables.addNote(number, { size, root, note });
  const row = tables.keepLeaf({
    log: number,
    kind: "receipt",
    size,
    leaf: receipt.leaf,
    tree: checkpoint,
  });
  const before = tables.pushed(number);
  const unsent = [before.size, size - events.length] as const;
  // What this store had not known to be delivered is offered once more: the server knows what it has.
  const owed = unsent[0] < unsent[1] ? [...before.owed, unsent] : before.owed;
  tables.putPushed(number, {
    size,
    owed,
    receipt: row,
    receivedAt: receipt.statement.received,
  });
}

function bodyText(headerText: string, frames: readonly Frame[]): string {
  const kept = frames.map(({ bytes, ...frame }) =>
    bytes === undefined ? frame : { ...frame, bytes: base64(bytes) },
  );
  return JSON.stringify([headerText, kept]);
}

function readBody(crypto: Crypto, text: string): SealedEvent {
  const [headerText, kept] = JSON.parse(text) as readonly [
    string,
    readonly (Omit<Frame, "bytes"> & { readonly bytes?: string })[],
  ];
  const header = parseHeader(headerText);
  invariant(isCurrentHeader(header), "what was laid aside was judged");
  const frames = kept.map(({ bytes, ...frame }) => ({
    ...frame,
    bytes: bytes === undefined ? undefined : (fromBase64(bytes) ?? new Uint8Array(0)),
  }));
  return { leaf: base64url(leafHash(crypto, utf8(headerText))), header, headerText, frames };
}

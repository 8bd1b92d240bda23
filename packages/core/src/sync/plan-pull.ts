/**
 * Planning a pull. Position `*` follows all that the device may read, as the server has it at each request. A
 * scope that was granted after `*` had passed its events is fetched by name from the beginning until it has
 * caught up; then its row is dropped. What a device that was put back to an older copy has lost comes first: from
 * there on everything is asked for, its own events too (take-own.ts).
 */
import { originKey } from "../event/event.ts";
import { everyScope } from "../event/system.ts";
import { limits } from "../std/limits.ts";
import type { PullRequest } from "./messages/pull.ts";
import type { SyncTables } from "./sync-tables.ts";
import { ownRow, ownWanted } from "./take-own.ts";

/** The next request: furthest behind first. */
export function planPull(
  tables: SyncTables,
  bounds: { readonly events: number; readonly bytes: number },
): PullRequest {
  const rows = tables.pulls();
  const through = rows.find(({ scope }) => scope === everyScope)?.position ?? 0;
  const behind = rows.filter(
    ({ scope, position }) => scope !== everyScope && scope !== ownRow && position < through,
  );
  const own = ownWanted(tables);
  const after = own ?? behind[0]?.position ?? through;
  const together = behind.filter(({ position }) => position === after);
  const named = together.slice(0, limits.pullScopesMax).map(({ scope }) => scope);
  const owns = own === undefined ? [] : receiptedNotes(tables);
  const notes = [...owns, ...foreignNotes(tables, limits.pullOriginsMax - owns.length)];
  const held = notes.map(
    ({ device, incarnation, size }) => [originKey(device, incarnation), size] as const,
  );
  return {
    scopes: own !== undefined || named.length === 0 ? everyScope : named,
    after,
    events: Math.min(bounds.events, limits.pullEventsMax),
    bytes: Math.min(bounds.bytes, limits.pullBytesMax),
    checkpoint: tables.checkpoint()?.size ?? 0,
    held: Object.fromEntries(held),
    ...(own === undefined ? {} : { own: true }),
  };
}

/** Foreign logs at their newest notes; where a restored server lost that one, at the newest that it knows of. */
function foreignNotes(
  tables: SyncTables,
  limit: number,
): readonly { readonly device: string; readonly incarnation: string; readonly size: number }[] {
  const lost = new Set(
    tables.lostLogs().map(({ device, incarnation }) => originKey(device, incarnation)),
  );
  return tables
    .foreignNotes(limit)
    .map(({ number, device, incarnation, size }) => {
      const isLost = lost.has(originKey(device, incarnation));
      return {
        device,
        incarnation,
        size: isLost ? (tables.largestReceipt(number)?.size ?? 0) : size,
      };
    })
    .filter(({ size }) => size > 0);
}

/** Own logs at the sizes that the server has receipted: it can prove that it goes on from there. */
function receiptedNotes(
  tables: SyncTables,
): readonly { readonly device: string; readonly incarnation: string; readonly size: number }[] {
  return tables
    .ownLogs()
    .slice(-limits.pullOriginsMax)
    .map(({ number, device, incarnation }) => {
      return { device, incarnation, size: tables.pushed(number).size };
    })
    .filter(({ size }) => size > 0);
}

/** Moves the rows of a request on to where its page ended. */
export function movePulls(tables: SyncTables, request: PullRequest, next: number): void {
  if (request.own === true) tables.putPull(ownRow, next);
  const scopes = request.scopes === everyScope ? [everyScope] : request.scopes;
  const before = request.own === true ? passedAll(tables) : 0;
  for (const scope of scopes) tables.putPull(scope, Math.max(before, next));
  const rows = tables.pulls();
  const through = rows.find(({ scope }) => scope === everyScope)?.position ?? 0;
  for (const { scope, position } of rows) {
    if (scope !== everyScope && scope !== ownRow && position >= through) tables.dropPull(scope);
  }
}

/** How far everything was pulled: a request that begins further back does not lose it. */
function passedAll(tables: SyncTables): number {
  return tables.pulls().find(({ scope }) => scope === everyScope)?.position ?? 0;
}

/** Scopes that were granted to this device after their events had been passed are fetched from the beginning. */
export function fetchGranted(
  tables: SyncTables,
  granted: { readonly scopes: readonly string[]; readonly position: number },
): void {
  // Granted before the pull began: the server had it in force from the first page on.
  if (granted.position <= Number(tables.value("pull_began") ?? 0)) return;
  for (const scope of granted.scopes) tables.putPull(scope, 0);
}

/** A restored server has that log again: what was passed over of it is fetched. */
export function endLost(
  tables: SyncTables,
  { device, incarnation }: { readonly device: string; readonly incarnation: string },
): void {
  const from = tables.lostLog(device, incarnation)?.from;
  tables.dropLost(device, incarnation);
  if (from === undefined) return;
  for (const { scope, position } of tables.pulls()) {
    if (position > from) tables.putPull(scope, from);
  }
}

const readableName = "header_version";

/** Events that an earlier release could not read and this one can are fetched again, with their scopes. */
export function fetchReadable(tables: SyncTables, version: number): void {
  if (tables.value(readableName) === String(version)) return;
  tables.put(readableName, String(version));
  const under = new Map(tables.pulls().map(({ scope, position }) => [scope, position]));
  for (const event of tables.newer()) {
    if (event.v > version) continue;
    const from = Math.min(event.position - 1, under.get(event.scope) ?? Infinity);
    under.set(event.scope, from);
    tables.putPull(event.scope, from);
  }
}

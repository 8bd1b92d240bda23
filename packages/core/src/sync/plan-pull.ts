/**
 * Planning a pull. Position `*` follows all that the device may read, as the server has it at each request. A
 * scope that was granted after `*` had passed its events is fetched by name from the beginning until it has
 * caught up; then its row is dropped.
 */
import { originKey } from "../event/event.ts";
import { everyScope } from "../event/system.ts";
import { limits } from "../std/limits.ts";
import type { PullRequest } from "./messages/pull.ts";
import type { SyncTables } from "./sync-tables.ts";

/** The next request: furthest behind first. */
export function planPull(
  tables: SyncTables,
  bounds: { readonly events: number; readonly bytes: number },
): PullRequest {
  const rows = tables.pulls();
  const through = rows.find(({ scope }) => scope === everyScope)?.position ?? 0;
  const behind = rows.filter(({ scope, position }) => scope !== everyScope && position < through);
  const after = behind[0]?.position ?? through;
  const together = behind.filter(({ position }) => position === after);
  const named = together.slice(0, limits.pullScopesMax).map(({ scope }) => scope);
  const held = tables
    .foreignNotes(limits.pullOriginsMax)
    .map(({ device, incarnation, size }) => [originKey(device, incarnation), size] as const);
  return {
    scopes: named.length === 0 ? everyScope : named,
    after,
    events: Math.min(bounds.events, limits.pullEventsMax),
    bytes: Math.min(bounds.bytes, limits.pullBytesMax),
    checkpoint: tables.checkpoint()?.size ?? 0,
    held: Object.fromEntries(held),
  };
}

/** Moves the rows of a request on to where its page ended. */
export function movePulls(tables: SyncTables, request: PullRequest, next: number): void {
  const scopes = request.scopes === everyScope ? [everyScope] : request.scopes;
  for (const scope of scopes) tables.putPull(scope, next);
  const rows = tables.pulls();
  const through = rows.find(({ scope }) => scope === everyScope)?.position ?? 0;
  for (const { scope, position } of rows) {
    if (scope !== everyScope && position >= through) tables.dropPull(scope);
  }
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

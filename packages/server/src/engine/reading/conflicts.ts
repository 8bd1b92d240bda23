/**
 * Conflict candidates from headers alone: pairs of events on one stream, neither in the other's past, that are not
 * settled, among the newest events of each stream. The server knows no event types, so what carries a version vector counts as exclusive; readers decide.
 */
import {
  type ConflictCandidate,
  type ConflictsAnswer,
  everyScope,
  findConflicts,
  type Header,
  limits,
} from "@holdfast/core";
import { admit } from "../caller.ts";
import type { EngineDeps } from "../engine-deps.ts";
import type { PlacedEvent } from "../server-store.ts";
import type { Caller } from "../sync-server.ts";

/** Streams and pairs of one answer. */
const streamsMax = 1_000;
const candidatesMax = 1_000;

/** Only streams that the caller may read; an unknown stream has none, like a forbidden one. */
export function listConflicts(
  { store }: EngineDeps,
  caller: Caller,
  stream: string | undefined,
): Promise<ConflictsAnswer> {
  return store.read(async (reads) => {
    await admit(reads, caller);
    const allowed = new Set(await reads.access(caller.tenant, caller.device));
    const streams =
      stream === undefined ? await reads.sharedStreams(caller.tenant, "", streamsMax) : [stream];
    const candidates: ConflictCandidate[] = [];
    let left: number = limits.conflictHeadersMax;
    for (const one of streams) {
      const most = Math.min(left, limits.conflictStreamHeadersMax);
      const events = await reads.headersOfStream(caller.tenant, one, most);
      candidates.push(...candidatesOf(one, events, allowed));
      left -= events.length;
      if (candidates.length >= candidatesMax || left <= 0) break;
    }
    return { candidates: candidates.slice(0, candidatesMax) };
  });
}

function candidatesOf(
  stream: string,
  events: readonly Pick<PlacedEvent, "leaf" | "scope" | "header">[],
  allowed: ReadonlySet<string>,
): readonly ConflictCandidate[] {
  const readable = events.filter(({ scope }) => allowed.has(everyScope) || allowed.has(scope));
  const contending = readable
    .map(({ leaf, header }) => ({ leaf, header: JSON.parse(header) as Header }))
    // A newer version may say in other fields what came before what.
    .filter(({ header }) => header.v === 1)
    .map((event) => ({ ...event, contentKey: undefined }));
  return findConflicts(contending, { types: new Map() })
    .filter(({ status }) => status === "open")
    .flatMap(({ sides }) =>
      sides.flatMap((side, at) =>
        sides.slice(at + 1).map((other) => ({ stream, leaves: [side, other] as const })),
      ),
    );
}

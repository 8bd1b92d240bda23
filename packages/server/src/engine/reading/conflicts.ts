/**
 * Conflict candidates from headers alone: pairs of events on one stream, neither in the other's past, that are not
 * settled, among the newest events of each stream. The server knows no event types, so what carries a version vector counts as exclusive; readers decide.
 */
import {
  base64url,
  type ConflictCandidate,
  type ConflictsAnswer,
  everyScope,
  findConflicts,
  type Header,
  leafHash,
  limits,
  utf8,
} from "@holdfast/core";
import { admit } from "../caller.ts";
import type { EngineDeps } from "../engine-deps.ts";
import type { ServerReads, StreamHeader } from "../server-store.ts";
import type { Caller } from "../sync-server.ts";

/** Streams read at once and looked at for one answer, and pairs of one answer. */
const streamsEach = 500;
const streamsMax = 10_000;
const candidatesMax = 1_000;

/** Only streams that the caller may read; an unknown stream has none, like a forbidden one. */
export function listConflicts(
  { crypto, store }: EngineDeps,
  caller: Caller,
  stream: string | undefined,
): Promise<ConflictsAnswer> {
  return store.read(caller.tenant, async (reads) => {
    await admit(reads, caller);
    const allowed = new Set(await reads.access(caller.tenant, caller.device));
    const candidates: ConflictCandidate[] = [];
    let left: number = limits.conflictHeadersMax;
    for await (const one of stream === undefined ? sharedStreams(reads, caller.tenant) : [stream]) {
      const most = Math.min(left, limits.conflictStreamHeadersMax);
      const events = await reads.headersOfStream(caller.tenant, one, most);
      candidates.push(...candidatesOf(crypto, one, events, allowed));
      left -= events.length;
      if (candidates.length >= candidatesMax || left <= 0) break;
    }
    return { candidates: candidates.slice(0, candidatesMax) };
  });
}

async function* sharedStreams(reads: ServerReads, tenant: string): AsyncGenerator<string> {
  let after = "";
  for (let seen = 0; seen < streamsMax;) {
    const page = await reads.sharedStreams(tenant, after, streamsEach);
    yield* page;
    seen += page.length;
    if (page.length < streamsEach) return;
    after = page.at(-1) as string;
  }
}

function candidatesOf(
  crypto: EngineDeps["crypto"],
  stream: string,
  events: readonly StreamHeader[],
  allowed: ReadonlySet<string>,
): readonly ConflictCandidate[] {
  const readable = events.filter(({ scope }) => allowed.has(everyScope) || allowed.has(scope));
  const contending = readable
    .map(({ header }) => ({
      leaf: base64url(leafHash(crypto, utf8(header))),
      header: JSON.parse(header) as Header,
    }))
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

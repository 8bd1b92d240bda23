/**
 * One pull page: events of scopes that the caller may read, after a position, with all that proves them. The page is
 * made from one committed state, so that a consumer who goes on at `next` never passes over an event.
 */
import {
  createStoredTree,
  everyScope,
  HoldfastError,
  invariant,
  limits,
  shreddedBy,
  originKey,
  proveConsistency,
  proveInclusions,
  type PulledEvent,
  type PulledLog,
  type PullPage,
  type PullRequest,
} from "@holdfast/core";
import { admit } from "../caller.ts";
import type { EngineDeps } from "../engine-deps.ts";
import { decodeFrames } from "../ingest/frames.ts";
import { withoutShredded } from "../shredding/shredded-frames.ts";
import { createShardProof, type ShardProof } from "../log/checkpoints.ts";
import type { PlacedEvent, ServerReads, ShardHead } from "../server-store.ts";
import type { Caller } from "../sync-server.ts";
import { together } from "../together.ts";

/** Throws `caller_unknown`, `device_revoked`, `request_malformed`, `scope_denied`, `server_behind`. */
export async function pull(
  deps: EngineDeps,
  caller: Caller,
  request: PullRequest,
): Promise<PullPage> {
  let result = "refused";
  try {
    checkRequest(request);
    const page = await readPage(deps, caller, request);
    result = "answered";
    deps.observer.count("server_pulled_events", page.events.length);
    return page;
  } finally {
    deps.observer.count("server_pulls", 1, { result });
  }
}

/** Who may read what is asked of the newest state; a copy that lags behind may then answer. */
async function readPage(deps: EngineDeps, caller: Caller, request: PullRequest): Promise<PullPage> {
  const { store } = deps;
  const { tenant } = caller;
  const admission = (reads: ServerReads) => readableScopes(reads, caller, request.scopes);
  if (!store.capabilities.replica) {
    return store.read(tenant, async (reads) => {
      // The row is read along, for the page.
      const [scopes] = await together(
        () => admission(reads),
        () => reads.tenant(tenant),
      );
      return pageOf(deps, reads, caller, request, scopes);
    });
  }
  const { scopes, head } = await store.read(tenant, async (reads) => ({
    scopes: await admission(reads),
    head: await headOf(reads, tenant),
  }));
  // The device names a size and no log: a copy that has not heard of a move would answer with a log that went on.
  const seen = { ...head, events: request.after, leaves: request.checkpoint };
  return store.read(tenant, (reads) => pageOf(deps, reads, caller, request, scopes), seen);
}

async function headOf(reads: ServerReads, tenant: string): Promise<ShardHead> {
  const row = await reads.tenant(tenant);
  invariant(row !== undefined, "a device is of a tenant that is there");
  return reads.head(row.shard);
}

function checkRequest({ scopes, after, events, bytes, checkpoint, held }: PullRequest): void {
  for (const [part, value] of Object.entries({ after, events, bytes, checkpoint })) {
    if (!isCount(value)) throw malformed(part);
  }
  if (events === 0) throw malformed("events");
  if (scopes !== "*" && scopes.length > limits.pullScopesMax) throw malformed("scopes");
  const sizes = Object.values(held);
  if (sizes.length > limits.pullOriginsMax || !sizes.every(isCount)) throw malformed("held");
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

function malformed(part: string): HoldfastError {
  return new HoldfastError("request_malformed", { part });
}

async function pageOf(
  deps: EngineDeps,
  reads: ServerReads,
  caller: Caller,
  request: PullRequest,
  scopes: readonly string[] | "*",
): Promise<PullPage> {
  const row = await reads.tenant(caller.tenant);
  invariant(row !== undefined, "a device is of a tenant that is there");
  const head = await reads.head(row.shard);
  if (request.after > head.events) {
    throw new HoldfastError("server_behind", { part: "after", size: head.events });
  }
  const wanted = Math.min(request.events, limits.pullEventsMax);
  const except = request.own === true ? undefined : caller.device;
  // One more than wanted tells whether there is more.
  const bytes = Math.min(request.bytes, limits.pullBytesMax);
  const { tenant } = caller;
  const [checkpoint, found] = await together(
    () => reads.checkpoint(row.shard),
    () => reads.events(tenant, scopes, request.after, wanted + 1, except, bytes),
  );
  invariant(checkpoint !== undefined, "a tenant has a checkpoint from its founding on");
  const proof = createShardProof(deps.crypto, reads, head, checkpoint);
  const events = withinBytes(found.slice(0, wanted), bytes);
  const [{ logs, numbers }, shreds] = await together(
    () => logsOf(deps, reads, proof, caller.tenant, request, events),
    () => reads.shreds(tenant, [...new Set(events.map(({ scope }) => scope))]),
  );
  const isShredded = shreddedBy(shreds);
  return {
    next: events.length < found.length ? (events.at(-1)?.position ?? request.after) : head.events,
    head: head.events,
    checkpoint: checkpoint.note,
    consistency: await proof.consistency(request.checkpoint),
    logs,
    events: events.map((event): PulledEvent => {
      const log = numbers.get(originKey(event.device, event.incarnation)) as number;
      const frames = withoutShredded(isShredded, event.scope, decodeFrames(event.frames));
      const body = { header: event.header, frames };
      return { log, index: event.index, position: event.position, body };
    }),
  };
}

/** What is asked for, when all of it may be read: a scope that is not there is denied like a forbidden one. */
async function readableScopes(
  reads: ServerReads,
  caller: Caller,
  asked: readonly string[] | "*",
): Promise<readonly string[] | "*"> {
  const [, scopes] = await together(
    () => admit(reads, caller),
    () => reads.access(caller.tenant, caller.device),
  );
  const allowed = new Set(scopes);
  if (allowed.has(everyScope)) return asked === "*" || asked.includes(everyScope) ? "*" : asked;
  if (asked === "*") return [...allowed];
  if (!asked.every((scope) => allowed.has(scope))) throw new HoldfastError("scope_denied");
  return asked;
}

/** At least one event, or a large one would stop the puller for ever. */
function withinBytes(events: readonly PlacedEvent[], most: number): readonly PlacedEvent[] {
  let bytes = 0;
  for (const [at, event] of events.entries()) {
    // A UTF-16 code unit of a header is nearly always one byte; the bound is the server's own.
    bytes += event.header.length + event.frames.length;
    if (bytes > most && at > 0) return events.slice(0, at);
  }
  return events;
}

async function logsOf(
  deps: EngineDeps,
  reads: ServerReads,
  proof: ShardProof,
  tenant: string,
  request: PullRequest,
  events: readonly PlacedEvent[],
): Promise<{ readonly logs: readonly PulledLog[]; readonly numbers: ReadonlyMap<string, number> }> {
  const indices = new Map<string, number[]>();
  const names: (readonly [string, string])[] = [];
  for (const { device, incarnation, index } of events) {
    const key = originKey(device, incarnation);
    const known = indices.get(key);
    if (known === undefined) names.push([device, incarnation]);
    if (known === undefined) indices.set(key, [index]);
    else known.push(index);
  }
  const numbers = new Map<string, number>();
  const logs: PulledLog[] = [];
  for (const [device, incarnation] of names) {
    const key = originKey(device, incarnation);
    numbers.set(key, logs.length);
    const held = Object.hasOwn(request.held, key) ? (request.held[key] as number) : 0;
    const name = { tenant, device, incarnation };
    logs.push(await logOf(deps, reads, proof, name, held, indices.get(key) ?? []));
  }
  return { logs, numbers };
}

async function logOf(
  { crypto }: EngineDeps,
  reads: ServerReads,
  proof: ShardProof,
  name: { readonly tenant: string; readonly device: string; readonly incarnation: string },
  held: number,
  indices: readonly number[],
): Promise<PulledLog> {
  const { tenant, device, incarnation } = name;
  const log = await reads.deviceLog(tenant, device, incarnation);
  invariant(
    log?.note !== undefined && log.receipt !== undefined,
    "a log with events has a receipt",
  );
  const { size, note, opening, receipt, enrolment } = log;
  if (held > size) throw new HoldfastError("server_behind", { part: "held", size });
  const tree = createStoredTree(crypto, size, (spans) =>
    reads.deviceHashes(tenant, device, incarnation, spans),
  );
  const proven = [...new Set([0, ...indices])].toSorted((a, b) => a - b);
  const [provenReceipt, provenEnrolment, hashes, consistency] = await together(
    () => proof.prove(receipt),
    () => proof.prove(enrolment),
    () => tree.prove((by, hashOf) => proveInclusions(by, proven, size, hashOf)),
    () =>
      held === 0 || held === size
        ? []
        : tree.prove((by, hashOf) => proveConsistency(by, held, size, hashOf)),
  );
  return {
    device,
    incarnation,
    note,
    receipt: provenReceipt,
    enrolment: provenEnrolment,
    opening,
    hashes,
    consistency,
  };
}

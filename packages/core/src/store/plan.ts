/**
 * Planning a group: each waiting call gets its place in its streams, or its answer. Pure but for reads of the
 * log; nothing is sealed and nothing is written here, so a refused call leaves no gap.
 */
import { originKey, type VersionVector } from "../event/event.ts";
import type { Keyring } from "../keys/keyring.ts";
import { frameGeneration, openFrame } from "../seal/frame.ts";
import type { SealableDraft } from "../seal/seal.ts";
import { equalBytes, fromBase64url } from "../std/bytes.ts";
import { HoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { Crypto } from "../std/ports.ts";
import type { AppendCall, AppendResult, Expectation, PreparedDraft } from "./append.ts";
import { headerOf, type SqliteEventLog } from "./sqlite-event-log.ts";
import type { StoredEvent } from "./event-log.ts";
import { presentScope } from "./shreds.ts";
import type { StreamHead } from "./stream-heads.ts";

/** A draft with its place, or the recorded event that it repeats. */
export type PlannedDraft =
  | { readonly kind: "new"; readonly sealable: SealableDraft; readonly prepared: PreparedDraft }
  | { readonly kind: "recorded"; readonly id: string; readonly stored: StoredEvent }
  /** Repeats a draft of the same group: index into the group's new drafts. */
  | { readonly kind: "repeated"; readonly id: string; readonly index: number };

export type PlannedCall =
  | { readonly status: "planned"; readonly drafts: readonly PlannedDraft[] }
  | { readonly status: "answered"; readonly result: AppendResult }
  | { readonly status: "refused"; readonly error: HoldfastError };

export interface PlanDeps {
  readonly crypto: Crypto;
  readonly keyring: Keyring;
  readonly log: SqliteEventLog;
  readonly newId: () => string;
  readonly device: string;
  readonly incarnation: string;
  /** Heads as the store has them; kept by the writer between groups. */
  readonly headOf: (stream: string) => StreamHead | undefined;
}

const pseudonym = /^[A-Za-z0-9_-]{22}$/;

/** Plans calls in turn: each sees the provisional heads of those before it. */
export function createPlanner(deps: PlanDeps) {
  const { keyring, log } = deps;
  const own = originKey(deps.device, deps.incarnation);
  const heads = new Map<string, StreamHead>();
  const planned: { readonly sealable: SealableDraft; readonly prepared: PreparedDraft }[] = [];
  const ids = new Map<string, number>();
  // Asked once: whatever puts a shred in force waits for the lease that this group holds.
  const isAnyShredded = log.shreds.any();

  function streamIdOf(text: string): string {
    if (pseudonym.test(text) && deps.headOf(text) !== undefined) return text;
    return keyring.streamOf(text);
  }

  function scopeIdOf(text: string, site: string): string {
    if (pseudonym.test(text) && log.streams.hasScope(text)) return text;
    return namedScope(text, site);
  }

  function namedScope(words: string, site: string): string {
    return isAnyShredded
      ? presentScope(keyring, log.shreds, words, site)
      : keyring.scopeOf(words, site);
  }

  const streamOf = (draft: PreparedDraft): string =>
    draft.exact === true ? draft.stream : streamIdOf(draft.stream);

  function scopeFor(draft: PreparedDraft, stream: string, head: StreamHead | undefined): string {
    refuseShredded(draft, head?.scope);
    if (draft.exact === true && draft.scope !== undefined) {
      refuseShredded(draft, draft.scope);
      return head?.scope ?? draft.scope;
    }
    // A stream without a stated scope is a scope by itself: it can be shredded alone.
    const asked = draft.scope === undefined ? undefined : scopeIdOf(draft.scope, draft.site);
    const scope = head?.scope ?? asked ?? namedScope(draft.stream, draft.site);
    refuseShredded(draft, scope);
    if (asked !== undefined && asked !== scope) {
      throw new HoldfastError("stream_scope_conflict", { stream });
    }
    return scope;
  }

  /** Nothing is sealed that nobody may ever open. What has no sections says nothing but its header. */
  function refuseShredded({ sections }: PreparedDraft, scope: string | undefined): void {
    if (!isAnyShredded || scope === undefined) return;
    const section = sections.find(({ name }) => log.shreds.isShredded(scope, name));
    if (section === undefined) return;
    throw new HoldfastError("scope_shredded", { scope, section: section.name });
  }

  function planDraft(
    draft: PreparedDraft,
    local: Map<string, StreamHead>,
    first: number,
  ): { readonly sealable: SealableDraft } {
    const stream = streamOf(draft);
    const head = local.get(stream) ?? heads.get(stream) ?? deps.headOf(stream);
    const scope = scopeFor(draft, stream, head);
    if (draft.ref !== undefined && draft.exact !== true) checkRefs(log, draft, stream);
    const streamSequence = (head?.vector[own] ?? 0) + 1;
    const vector = draft.concurrency === "exclusive" ? (head?.frontier ?? {}) : undefined;
    if (vector !== undefined && Object.keys(vector).length > limits.vectorEntriesMax) {
      throw new HoldfastError("vector_too_large", { stream, limit: limits.vectorEntriesMax });
    }
    const exclusive = vector !== undefined;
    // Provisional: what the log makes of it is kept once it is committed.
    local.set(stream, {
      scope,
      vector: { ...head?.vector, [own]: streamSequence },
      frontier: exclusive
        ? { [own]: streamSequence }
        : { ...head?.frontier, [own]: streamSequence },
      recorded: head?.recorded ?? 0,
      reorderedAt: head?.reorderedAt ?? 0,
      ahead: head?.ahead ?? {},
    });
    const id = draft.id ?? deps.newId();
    ids.set(id, first);
    return {
      sealable: {
        id,
        type: draft.type,
        typeVersion: draft.typeVersion,
        scope,
        stream,
        streamSequence,
        vector,
        op: draft.op,
        ref: draft.ref,
        at: draft.at,
        actor: draft.actor,
        role: draft.role,
        session: draft.session,
        why: draft.why,
        sections: draft.sections,
        ...(draft.pub !== undefined && { pub: draft.pub }),
      },
    };
  }

  /** The recorded event that a draft repeats; throws `event_id_conflict` when the content differs. */
  function recordedAlready(draft: PreparedDraft): PlannedDraft | undefined {
    if (draft.id === undefined) return undefined;
    const index = ids.get(draft.id);
    if (index !== undefined) {
      const other = planned[index];
      const repeats = other !== undefined && repeatsDraft(draft, streamOf(draft), other);
      if (!repeats) throw new HoldfastError("event_id_conflict", { id: draft.id });
      return { kind: "repeated", id: draft.id, index };
    }
    const stored = log.byId(draft.id);
    if (stored === undefined) return undefined;
    if (!repeatsStored(deps, draft, streamOf(draft), stored)) {
      throw new HoldfastError("event_id_conflict", { id: draft.id });
    }
    return { kind: "recorded", id: draft.id, stored };
  }

  function unmet(draft: PreparedDraft, expect: Expectation): AppendResult | undefined {
    const stream = streamOf(draft);
    const frontier = (heads.get(stream) ?? deps.headOf(stream))?.frontier;
    const met = expect === "none" ? frontier === undefined : sameVector(frontier, expect);
    return met ? undefined : { status: "conflict", stream, frontier: frontier ?? {} };
  }

  function planCall(call: AppendCall): PlannedCall {
    const local = new Map<string, StreamHead>();
    const before = planned.length;
    try {
      const drafts: PlannedDraft[] = [];
      const fresh = call.drafts.map((draft) => recordedAlready(draft));
      const [first] = call.drafts;
      // A repeated call is answered as before: its expectation was met when it was recorded.
      if (call.expect !== undefined && first !== undefined && fresh.includes(undefined)) {
        const conflict = unmet(first, call.expect);
        if (conflict !== undefined) return { status: "answered", result: conflict };
      }
      for (const [at, draft] of call.drafts.entries()) {
        const known = fresh[at] ?? recordedAlready(draft);
        if (known !== undefined) {
          drafts.push(known);
          continue;
        }
        const { sealable } = planDraft(draft, local, planned.length);
        planned.push({ sealable, prepared: draft });
        drafts.push({ kind: "new", sealable, prepared: draft });
      }
      for (const [stream, head] of local) heads.set(stream, head);
      return { status: "planned", drafts };
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      planned.length = before;
      for (const [id, index] of ids) if (index >= before) ids.delete(id);
      return { status: "refused", error };
    }
  }

  return { planCall, newDrafts: planned };
}

function sameVector(a: VersionVector | undefined, b: VersionVector): boolean {
  if (a === undefined) return false;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => a[key] === b[key]);
}

/** What an amendment names must be here and of the same stream. */
function checkRefs(log: SqliteEventLog, draft: PreparedDraft, stream: string): void {
  for (const leaf of draft.ref ?? []) {
    const named = log.byLeaf(leaf);
    if (named === undefined || headerOf(named).stream !== stream) {
      throw new HoldfastError("draft_invalid", {
        path: "/ref",
        reason: "names no event of this stream",
      });
    }
  }
}

function repeatsDraft(
  draft: PreparedDraft,
  stream: string,
  other: { readonly sealable: SealableDraft; readonly prepared: PreparedDraft },
): boolean {
  return (
    other.sealable.type === draft.type &&
    other.sealable.op === draft.op &&
    other.sealable.stream === stream &&
    other.prepared.sections.length === draft.sections.length &&
    other.prepared.sections.every(({ name, plaintext }, at) => {
      const own = draft.sections[at];
      return own?.name === name && equalBytes(own.plaintext, plaintext);
    })
  );
}

function repeatsStored(
  deps: Pick<PlanDeps, "crypto" | "keyring">,
  draft: PreparedDraft,
  stream: string,
  stored: StoredEvent,
): boolean {
  const header = headerOf(stored);
  if (header.type !== draft.type || header.op !== draft.op || header.stream !== stream)
    return false;
  if (stored.frames.length !== draft.sections.length) return false;
  const leaf = fromBase64url(stored.leaf) as Uint8Array;
  return stored.frames.every((frame) => {
    const own = draft.sections.find(({ name }) => name === frame.section);
    const commitment = fromBase64url(header.sec[frame.section]?.c ?? "");
    if (own === undefined || frame.bytes === undefined || commitment === undefined) return false;
    const key = deps.keyring.dataKey(frame.key, frameGeneration(frame.bytes) ?? -1);
    if (key === undefined) return false;
    const opened = openFrame(deps.crypto, key, frame.section, leaf, frame.bytes, commitment);
    return opened !== undefined && equalBytes(opened.plaintext, own.plaintext);
  });
}

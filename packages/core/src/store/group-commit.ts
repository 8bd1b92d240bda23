/**
 * Committing a group of calls: plan, seal, sign, one transaction, one answer each. After a storage failure the
 * store is closed and opened again, and the ids on the medium decide what had been committed: what is absent is
 * sealed anew under the same ids, or its callers are told.
 */
import { isProviderFailure } from "../keys/guard.ts";
import type { EventContent } from "../seal/content.ts";
import { sealGroup, type SealedGroup } from "../seal/seal.ts";
import type { CommitNote, SealedEvent } from "../seal/sealed-event.ts";
import { type ErrorCode, HoldfastError, isHoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { AppendCall, AppendedEvent, AppendResult, PreparedDraft } from "./append.ts";
import { createPlanner, type PlannedCall, type PlannedDraft } from "./plan.ts";
import { seenCheckpoint } from "./seen-checkpoint.ts";
import { headerOf, inTransaction } from "./sqlite-event-log.ts";
import {
  cachedHead,
  rememberHead,
  type StoreSession,
  type Tenancy,
  type Tenure,
  type WriterDeps,
} from "./tenancy.ts";

/** A call that waits for its answer. */
export interface WaitingCall {
  /** After a failed attempt its drafts have the ids that they were sealed under. */
  call: AppendCall;
  readonly since: number;
  resolve(result: AppendResult): void;
  reject(error: unknown): void;
}

const storageCodes: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "store_full",
  "store_io_error",
  "store_corrupt",
  "store_read_only",
  "store_busy",
  "store_constraint",
]);
const attemptsMax = 3;

export interface GroupCommit {
  /** Commits a group and answers every call of it; never throws for what goes wrong in operation. */
  commit(group: readonly WaitingCall[]): Promise<void>;
  /** Puts the writer into a known state after a failure; says whether the work may be tried again. */
  recover(error: unknown): boolean;
}

export function createGroupCommit(deps: WriterDeps, tenancy: Tenancy): GroupCommit {
  const { clock, observer } = deps;

  async function commit(group: readonly WaitingCall[]): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        await commitOnce(group);
        return;
      } catch (error) {
        const most = isProviderFailure(error) ? limits.keyProvidersMax : attemptsMax;
        if (recover(error) && attempt < most) continue;
        for (const waiting of group) answer(waiting, error);
        return;
      }
    }
  }

  function recover(error: unknown): boolean {
    deps.keyring.release();
    try {
      if (isHoldfastError(error) && storageCodes.has(error.code)) deps.reopen(error.code);
    } catch (reopening) {
      if (!isHoldfastError(reopening)) throw reopening;
      return false;
    } finally {
      tenancy.surrender();
    }
    // Where nobody can say whether the commit is there, sealing it anew could record it twice.
    if (isHoldfastError(error, "store_io_error")) return error.details["outcome"] !== "unknown";
    // Sealed anew under the same ids, for the incarnation of the provider that is chosen next.
    return isHoldfastError(error, "lease_lost") || isProviderFailure(error);
  }

  async function commitOnce(group: readonly WaitingCall[]): Promise<void> {
    const held = await tenancy.hold();
    const session = deps.session();
    const planner = createPlanner({
      crypto: deps.crypto,
      keyring: deps.keyring,
      log: session.log,
      newId: deps.newId,
      device: held.identity.origin.device,
      incarnation: held.identity.origin.incarnation,
      headOf: (stream) => cachedHead(held, session, stream),
    });
    const plans = group.map(({ call }) => planner.planCall(call));
    const drafts = planner.newDrafts;
    if (drafts.length === 0) {
      // Heads kept since the last commit are right only while the lease still holds.
      inTransaction(session.driver, () => session.lease.assertHeld(held.token));
      answerGroup(group, plans, []);
      return;
    }
    const end = observer.span("commit");
    try {
      const sealed = sealGroup(
        {
          crypto: deps.crypto,
          random: deps.random,
          keyFor: (scope, section) => deps.keyring.dataKeyToSeal(scope, section),
        },
        { ...held.identity.origin, seen: seenCheckpoint(session.driver) },
        held.head,
        drafts.map(({ sealable }) => sealable),
      );
      const note = await held.sign(sealed);
      deps.keyring.flush();
      const first = writeGroup(session, held, sealed, note, drafts);
      held.head = sealed.head;
      deps.committed(held.identity, note);
      observer.count("commits", 1);
      observer.observe("commit_events", drafts.length);
      answerGroup(
        group,
        plans,
        sealed.events.map(({ leaf, header }, at) => ({
          id: header.id,
          position: first + at,
          sequence: header.seq,
          leaf,
          stream: header.stream,
          duplicate: false,
        })),
      );
      end("ok");
    } catch (error) {
      end("error");
      for (const [at, waiting] of group.entries()) keepIds(waiting, plans[at] as PlannedCall);
      throw error;
    }
  }

  function writeGroup(
    session: StoreSession,
    held: Tenure,
    sealed: SealedGroup,
    note: CommitNote,
    drafts: readonly { readonly prepared: PreparedDraft }[],
  ): number {
    const urgent = new Set<string>();
    const contents = new Map<string, EventContent>();
    for (let at = 0; at < drafts.length; at++) {
      const { leaf } = sealed.events[at] as SealedEvent;
      const { prepared } = drafts[at] as { readonly prepared: PreparedDraft };
      if (prepared.lane === "urgent") urgent.add(leaf);
      if (prepared.sections.length > 0) contents.set(leaf, prepared.content);
    }
    const batch = { events: sealed.events, note, urgent, contents };
    let wanted = false;
    let outcome;
    try {
      outcome = inTransaction(session.driver, () => {
        wanted = session.lease.assertHeld(held.token).wanted;
        return session.log.appendWithin(batch, session.participants);
      });
    } catch (error) {
      const position = decidedByReopening(error, sealed);
      if (position === undefined) throw error;
      tenancy.surrender();
      return position;
    }
    if (outcome.status === "stale") throw new HoldfastError("lease_lost", { size: outcome.size });
    for (const [stream, head] of outcome.heads) rememberHead(held, stream, head);
    if (wanted) tenancy.surrender();
    return outcome.firstPosition;
  }

  /** After an unknown outcome: position of the first event when the commit is on the medium after all. */
  function decidedByReopening(error: unknown, sealed: SealedGroup): number | undefined {
    if (!isHoldfastError(error) || !storageCodes.has(error.code)) return undefined;
    for (let attempt = 1; ; attempt++) {
      try {
        deps.reopen(error.code);
        break;
      } catch (reopening) {
        if (!isHoldfastError(reopening)) throw reopening;
        if (attempt < attemptsMax) continue;
        // A full medium took nothing: SQLite has rolled back.
        if (error.code === "store_full") return undefined;
        throw new HoldfastError("store_io_error", { outcome: "unknown" }, { cause: error });
      }
    }
    const stored = deps.session().log.byLeaf(sealed.events[0]?.leaf as string);
    observer.count("commit_unknown", 1, { outcome: stored === undefined ? "absent" : "present" });
    return stored?.position;
  }

  function answer(waiting: WaitingCall, error: unknown): void {
    observer.count("append_calls", 1, { result: isHoldfastError(error) ? error.code : "bug" });
    waiting.reject(error);
  }

  function answerGroup(
    group: readonly WaitingCall[],
    plans: readonly PlannedCall[],
    appended: readonly AppendedEvent[],
  ): void {
    let next = 0;
    for (const [at, waiting] of group.entries()) {
      const plan = plans[at] as PlannedCall;
      if (plan.status === "refused") {
        answer(waiting, plan.error);
        continue;
      }
      observer.observe("append_latency", clock.monotonic() - waiting.since);
      if (plan.status === "answered") {
        observer.count("append_calls", 1, { result: plan.result.status });
        waiting.resolve(plan.result);
        continue;
      }
      const events = plan.drafts.map((draft): AppendedEvent => {
        if (draft.kind === "new") return appended[next++] as AppendedEvent;
        return repeatedEvent(draft, appended);
      });
      observer.count("append_calls", 1, { result: "appended" });
      observer.count("append_events", events.length);
      waiting.resolve({ status: "appended", events });
    }
  }

  return { commit, recover };
}

/** Whether the attempt is on the medium may be unknown: under the same ids the next one finds out. */
function keepIds(waiting: WaitingCall, plan: PlannedCall): void {
  if (plan.status !== "planned") return;
  const drafts = waiting.call.drafts.map((draft, at): PreparedDraft => {
    const planned = plan.drafts[at];
    return planned?.kind === "new" ? { ...draft, id: planned.sealable.id } : draft;
  });
  waiting.call = { ...waiting.call, drafts };
}

function repeatedEvent(
  draft: Exclude<PlannedDraft, { kind: "new" }>,
  appended: readonly AppendedEvent[],
): AppendedEvent {
  if (draft.kind === "repeated") {
    return { ...(appended[draft.index] as AppendedEvent), duplicate: true };
  }
  const { position, leaf } = draft.stored;
  const { seq, stream } = headerOf(draft.stored);
  return { id: draft.id, position, sequence: seq, leaf, stream, duplicate: true };
}

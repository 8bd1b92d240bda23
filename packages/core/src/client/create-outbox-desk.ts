/** The outbox desk over an open store; see `outbox-desk.ts`. */
import { type AuditEntry, checkedFacts } from "../audit/audit-events.ts";
import type { RecordedEvent } from "../event/event.ts";
import { isoTime } from "../event/wire.ts";
import type { DeadLetter } from "../outbox/dead-letters.ts";
import type { ListedEntry } from "../outbox/entries.ts";
import type { Outbox } from "../outbox/outbox.ts";
import { HoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import { inTransaction } from "../store/sqlite-event-log.ts";
import type { OutboxDesk, OutboxExportOptions, OutboxExportRow } from "./outbox-desk.ts";
import type { StoreLife } from "./store-life.ts";

/** Entries that are read at once with their payloads: 25 MiB at most. */
const payloadPageEntries = 100;

export function createOutboxDesk(
  life: StoreLife,
  get: (idOrLeaf: string) => RecordedEvent | undefined,
): OutboxDesk {
  const outbox = (): Outbox => life.current().outbox;

  async function within<T>(work: (box: Outbox) => T): Promise<T> {
    life.current();
    const { writer } = life;
    if (writer === undefined) throw new HoldfastError("store_read_only");
    return writer.exclusively(({ driver, lease }, token) =>
      inTransaction(driver, () => {
        lease.assertHeld(token);
        return work(outbox());
      }),
    );
  }

  return {
    list: (filter) => outbox().entries.list(filter),
    deadLetters: (filter = {}) => outbox().deadLetters.list(filter),
    show(idOrLeaf) {
      const entry = outbox().entries.show(idOrLeaf);
      if (entry === undefined) throw new HoldfastError("outbox_entry_missing");
      return entry;
    },
    *export(options = {}) {
      const now = life.deps.clock.now();
      for (const entry of exported(outbox, options)) {
        const row = exportRow(entry, now);
        if (options.includePayload !== true) yield row;
        else yield { ...row, payload: payloadOf(get(entry.leaf)) };
      }
    },
    leases: () => outbox().leases(),
    redrive: (idOrLeaf) => within((box) => box.deadLetters.redrive(idOrLeaf)),
    redriveAll: (filter = {}) => within((box) => box.deadLetters.redriveAll(filter)),
    archive: (idOrLeaf) => within((box) => box.deadLetters.archive(idOrLeaf)),
    archiveOlderThan: (ageMs) => within((box) => box.deadLetters.archiveOlderThan(ageMs)),
    purge: (ageMs) => within((box) => box.purge(ageMs)),
    async forceRelease(worker, { actor, reason }) {
      if (actor.trim() === "") throw new HoldfastError("outbox_reason_missing");
      const facts = { lease: "outbox" } as const;
      const entry: AuditEntry = { kind: "LeaseForced", facts, actor, why: "forced", reason };
      const pseudonym = life.deps.keyring.actorOf(actor);
      await within((box) => {
        box.forceRelease(worker, { actor: pseudonym, reason });
        // What the trail would refuse is not done.
        checkedFacts(entry);
      });
      await life.audit.record(entry);
    },
  };
}

function* exported(
  outbox: () => Outbox,
  options: OutboxExportOptions,
): Generator<ListedEntry | DeadLetter, void> {
  const limit = options.includePayload === true ? payloadPageEntries : limits.queryRowsDefault;
  const since = options.since === undefined ? {} : { since: options.since };
  for (let after = 0; ;) {
    const page: readonly (ListedEntry | DeadLetter)[] =
      options.deadLetters === true
        ? outbox().deadLetters.list({ ...since, after, limit, archived: "any" })
        : outbox().entries.list({ ...since, after, limit });
    for (const entry of page) if (isExported(entry, options)) yield entry;
    if (page.length < limit) return;
    after = page.at(-1)?.position ?? after;
  }
}

function isExported(entry: ListedEntry | DeadLetter, options: OutboxExportOptions): boolean {
  return options.deadLetters === true || !("state" in entry) || entry.state !== "dead";
}

function exportRow(entry: ListedEntry | DeadLetter, now: number): OutboxExportRow {
  const nextAt = "nextAt" in entry ? entry.nextAt : undefined;
  const row = {
    id: entry.id,
    operation_type: entry.op,
    entity_type: entry.type,
    entity_id: entry.stream,
    enqueued_at: isoTime(entry.enqueuedAt),
    attempt_count: entry.attempts,
    next_retry_at: nextAt === undefined ? null : isoTime(nextAt),
    backoff_ms: nextAt === undefined ? 0 : Math.max(0, nextAt - now),
  };
  if ("state" in entry) return { ...row, status: entry.state };
  return {
    ...row,
    status: entry.archivedAt === undefined ? "dead" : "archived",
    error_code: entry.code,
    error_message: entry.message,
    http_status: entry.status ?? null,
    severity: entry.severity,
    created_at: isoTime(entry.createdAt),
    updated_at: isoTime(entry.updatedAt),
    archived_at: entry.archivedAt === undefined ? null : isoTime(entry.archivedAt),
  };
}

function payloadOf(event: RecordedEvent | undefined): unknown {
  return event?.data ?? event?.text ?? null;
}

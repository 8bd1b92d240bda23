/**
 * The audit trail of one store: written through the writer loop like every event, read back by anybody who may
 * open its sections. Nothing turns it off. What could not be written is tried again with the next entry.
 */
import type { RecordedEvent } from "../event/event.ts";
import {
  accessGrantedType,
  accessRevokedType,
  deviceEnrolledType,
  deviceRevokedType,
  erasureCertifiedType,
  holdLiftedType,
  holdPlacedType,
  incarnationOpenedType,
  keyGrantedType,
  shredAcknowledgedType,
  shredApprovedType,
  shredRequestedType,
} from "../event/system.ts";
import { toSections } from "../seal/content.ts";
import { HoldfastError, invariant, isHoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { Clock } from "../std/ports.ts";
import type { AppendCall, AppendResult, PreparedDraft } from "../store/append.ts";
import type { StoredEvent } from "../store/event-log.ts";
import { ownNames } from "../store/own-names.ts";
import type { SqliteDriver } from "../store/sqlite-driver.ts";
import type { SqliteEventLog } from "../store/sqlite-event-log.ts";
import type { Observer } from "../telemetry/observer.ts";
import {
  type AuditEntry,
  auditKinds,
  auditKindOf,
  auditTypes,
  checkedFacts,
} from "./audit-events.ts";

/** System events that belong to the trail as well: what they say stands in `pub`. */
const systemTypes: readonly string[] = [
  incarnationOpenedType,
  accessGrantedType,
  accessRevokedType,
  keyGrantedType,
  deviceEnrolledType,
  deviceRevokedType,
  holdPlacedType,
  holdLiftedType,
  shredRequestedType,
  shredApprovedType,
  shredAcknowledgedType,
  erasureCertifiedType,
];
/** Every event type that the audit trail shows. */
export const auditTrailTypes: readonly string[] = [...auditKinds, ...systemTypes];

/** Which audit events to read; all conditions must hold. */
export interface AuditQuery {
  /** Events after this position. */
  readonly after?: number;
  /** The newest of these; default `limits.queryRowsDefault`. */
  readonly limit?: number;
  readonly kinds?: readonly string[];
  /** Pseudonym. */
  readonly actor?: string;
  readonly why?: string;
  /** recordedAt, UTC milliseconds, inclusive and exclusive. */
  readonly since?: number;
  readonly until?: number;
}

/** The audit trail of an open store. */
export interface AuditTrail {
  /**
   * Records one act, durable when it resolves. Throws `draft_invalid`, `store_read_only` where the store is open for
   * reading, and what an append throws; the entry is then kept and tried again with the next one.
   */
  record(entry: AuditEntry): Promise<void>;
  /** As {@link AuditTrail.record}, for whoever cannot wait: a failure is counted, and tried again. */
  note(entry: AuditEntry): void;
  /** The newest events of the trail that answer the query, oldest first. */
  read(query?: AuditQuery): readonly RecordedEvent[];
  /** Resolves once nothing that was noted waits to be written, or cannot be. */
  settled(): Promise<void>;
}

/** What the trail stands on. */
export interface AuditTrailDeps {
  readonly clock: Clock;
  readonly observer: Observer;
  /** `undefined` in a store that is open for reading. */
  readonly append: ((call: AppendCall) => Promise<AppendResult>) | undefined;
  readonly session: () => { readonly driver: SqliteDriver; readonly log: SqliteEventLog };
  readonly actorOf: (actor: string) => string;
  readonly newId: () => string;
  /** Opens the sections of a stored event, its type known. */
  readonly open: (stored: StoredEvent) => RecordedEvent;
}

const typesByName = new Map(auditTypes.map((type) => [type.type, type]));

/** The trail over an open store. */
export function createAuditTrail(deps: AuditTrailDeps): AuditTrail {
  let waiting: PreparedDraft[] = [];
  let writing: Promise<void> = Promise.resolve();

  function prepare(entry: AuditEntry): PreparedDraft {
    const { kind, actor, why, reason } = entry;
    const data = checkedFacts(entry);
    const own = ownNames(deps.session().driver);
    const type = typesByName.get(kind);
    invariant(type !== undefined, "every audit kind is an event type");
    const content = { data, text: undefined, occurredAt: undefined, reason };
    const sections = toSections(type, content);
    return {
      id: entry.id ?? deps.newId(),
      type: kind,
      typeVersion: 1,
      concurrency: "independent",
      stream: own.stream,
      scope: undefined,
      site: "",
      op: auditKindOf(kind).op,
      ref: undefined,
      at: deps.clock.now(),
      actor: actor === undefined ? own.actor : deps.actorOf(actor),
      role: undefined,
      session: undefined,
      why,
      lane: "normal",
      sections,
      bytes: sections.reduce((sum, { plaintext }) => sum + plaintext.length, 0),
      content,
    };
  }

  function failed(error: unknown): void {
    const code = isHoldfastError(error) ? error.code : "bug";
    deps.observer.count("audit_failures", 1, { code });
    deps.observer.log("error", "audit_unwritten", { code });
  }

  async function writeWaiting(): Promise<void> {
    const { append } = deps;
    if (append === undefined) throw new HoldfastError("store_read_only");
    while (waiting.length > 0) {
      const drafts = waiting.slice(0, limits.batchEventsMax);
      await append({ drafts, expect: undefined });
      waiting = waiting.slice(drafts.length);
      for (const { type } of drafts) deps.observer.count("audit_events", 1, { kind: type });
    }
  }

  /** One call at a time, so that what failed goes before what came later. */
  function record(entry: AuditEntry): Promise<void> {
    if (deps.append !== undefined) waiting.push(prepare(entry));
    const turn = writing.then(writeWaiting);
    writing = turn.catch(failed);
    return turn;
  }

  return {
    record,
    note(entry) {
      // Each try that fails is counted as it ends.
      record(entry).catch(() => undefined);
    },
    read: (query = {}) => readTrail(deps, query),
    settled: () => writing,
  };
}

function readTrail(deps: AuditTrailDeps, query: AuditQuery): readonly RecordedEvent[] {
  const { driver, log } = deps.session();
  const conditions = ["type IN (SELECT value FROM json_each(?))", "position > ?"];
  const values: (string | number)[] = [
    JSON.stringify(query.kinds ?? auditTrailTypes),
    query.after ?? 0,
  ];
  const add = (condition: string, value: string | number | undefined): void => {
    if (value === undefined) return;
    conditions.push(condition);
    values.push(value);
  };
  add("actor = ?", query.actor);
  add("header ->> '$.why' = ?", query.why);
  add("recorded_at >= ?", query.since);
  add("recorded_at < ?", query.until);
  values.push(query.limit ?? limits.queryRowsDefault);
  const rows = driver
    .prepare(
      `SELECT leaf FROM events WHERE ${conditions.join(" AND ")} ORDER BY position DESC LIMIT ?`,
    )
    .all<{ leaf: string }>(...values);
  return rows.toReversed().flatMap(({ leaf }) => {
    const stored = log.byLeaf(leaf);
    return stored === undefined ? [] : [deps.open(stored)];
  });
}

/**
 * Taking over the outbox of an earlier application, under the migration contract: each entry becomes an event, whose id
 * is its idempotency key. Entries that have none, or one that is no UUIDv7, get an id that follows from what they hold,
 * so that the same file taken over twice, or by a process that was interrupted, records nothing twice.
 */
import {
  canonicalJson,
  createUuidV7,
  type Draft,
  fromIsoTime,
  type Holdfast,
  HoldfastError,
  isHoldfastError,
  isUuidV7,
  type JsonValue,
  limits,
  type Migration,
  type MigrationOutcome,
  parseJson,
  utf8,
} from "@holdfast/core";
import { legacyOperationImported } from "./events.ts";

/** What taking over stands on. */
export interface LegacyOutboxDeps {
  readonly crypto: { sha256(...parts: readonly Uint8Array[]): Uint8Array };
  readonly store: Pick<Holdfast, "append" | "get">;
  /** On whose authority. */
  readonly actor: string;
}

type Entry = Readonly<Record<string, JsonValue>>;

/**
 * The drafts of an exported outbox: a list, or an object with one as `entries`. Throws `json_*` for what is no JSON and
 * `wire_invalid`, with the place, for what is no entry.
 */
export function legacyDrafts(
  { crypto, actor }: Pick<LegacyOutboxDeps, "crypto" | "actor">,
  text: string,
): readonly Draft[] {
  const value = parseJson(text);
  const entries = isRecord(value) ? value["entries"] : value;
  if (!Array.isArray(entries)) throw new HoldfastError("wire_invalid", { path: "/entries" });
  const same = new Map<string, number>();
  return entries.map((entry: JsonValue, at) => {
    if (!isRecord(entry)) throw new HoldfastError("wire_invalid", { path: `/entries/${at}` });
    const data = payloadOf(entry, at);
    const key = entry["idempotencyKey"] ?? entry["idempotency_key"];
    // Two entries that are alike in everything are two operations.
    const words = typeof key === "string" ? key : canonicalJson(entry);
    const times = same.get(words) ?? 0;
    if (typeof key !== "string") same.set(words, times + 1);
    const id = typeof key === "string" && isUuidV7(key) ? key : idOf(crypto, data, words, times);
    const about = data.entity_id ?? data.entry ?? id;
    const stream = `legacy-outbox/${data.entity_type ?? "entry"}/${about}`;
    return { id, type: legacyOperationImported.type, stream, actor, data };
  });
}

function payloadOf(entry: Entry, at: number) {
  const word = (...names: readonly string[]): string | null => {
    const found = names.map((name) => entry[name]).find((value) => typeof value === "string");
    return typeof found === "string" ? found : null;
  };
  const created = entry["createdAt"] ?? entry["created_at"] ?? entry["enqueued_at"];
  const time = typeof created === "string" ? fromIsoTime(created) : created;
  if (typeof time !== "number" || !Number.isSafeInteger(time) || time < 0 || time >= 2 ** 48) {
    throw new HoldfastError("wire_invalid", { path: `/entries/${at}/createdAt` });
  }
  const attempts = entry["attempts"] ?? entry["attempt_count"] ?? 0;
  return {
    operation: word("opType", "operation_type"),
    entry: word("id"),
    entity_type: word("entityType", "entity_type"),
    entity_id: word("entityId", "entity_id"),
    created_at: new Date(time).toISOString(),
    attempts: Number(attempts),
    status: word("status") ?? "pending",
    payload: entry["payload"] ?? null,
  };
}

/** UUIDv7 of the time when the entry was made, the rest from what it holds. */
function idOf(
  crypto: LegacyOutboxDeps["crypto"],
  { created_at }: { readonly created_at: string },
  words: string,
  times: number,
): string {
  const digest = crypto.sha256(utf8(`holdfast/legacy-outbox/v1\n${times}\n`), utf8(words));
  const now = (): number => Date.parse(created_at);
  return createUuidV7({ now }, { bytes: (count) => Uint8Array.from(digest.subarray(0, count)) })();
}

/** The migration of that outbox into events of the store. */
export function createLegacyMigration(deps: LegacyOutboxDeps, text: string): Migration {
  const { store } = deps;
  const drafts = legacyDrafts(deps, text);
  const digest = deps.crypto.sha256(utf8(text));
  const name = [...digest.subarray(0, 8)]
    .map((byte) => byte.toString(16).padStart(2, "0"))
    .join("");
  const missing = (): readonly Draft[] =>
    drafts.filter(({ id }) => store.get(id ?? "") === undefined);
  return {
    id: `legacy-outbox-${name}`,
    from: 0,
    to: 1,
    description: "Entries of an earlier outbox become events, each under its idempotency key",
    affected: ["events", "outbox"],
    stands: () => (missing().length === 0 ? "after" : "before"),
    async backUp() {
      // The log only grows: there is nothing that could be put back.
    },
    dryRun: async () => judged(drafts.map((draft, at) => () => checkDraft(draft, at))),
    async migrate() {
      for (const batch of batchesOf(drafts)) await store.append(batch);
      return { records: drafts.length, errors: 0 };
    },
    verify: async () => judged(drafts.map((draft, at) => () => checkRecorded(store, draft, at))),
    async rollback() {
      // What was recorded stays: its ids are recognised when the file is taken over again.
    },
    async discard() {
      // Nothing lies beside.
    },
  };
}

const sizeOf = ({ data }: Draft): number => utf8(JSON.stringify(data)).length;

/** What one call takes: bounded in number, and in bytes with room for what a section has besides its payload. */
function* batchesOf(drafts: readonly Draft[]): Generator<readonly Draft[]> {
  let batch: Draft[] = [];
  let bytes = 0;
  for (const draft of drafts) {
    const size = sizeOf(draft);
    const isFull =
      batch.length >= limits.batchEventsMax || bytes + size > limits.commitBytesMax / 2;
    if (isFull && batch.length > 0) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(draft);
    bytes += size;
  }
  if (batch.length > 0) yield batch;
}

type Problem = NonNullable<MigrationOutcome["problem"]>;

function judged(checks: readonly (() => Problem | undefined)[]): MigrationOutcome {
  const problems = checks.map((check) => check()).filter((problem) => problem !== undefined);
  const [problem] = problems;
  const counts = { records: checks.length, errors: problems.length };
  return problem === undefined ? counts : { ...counts, problem };
}

function checkDraft(draft: Draft, at: number): Problem | undefined {
  if (sizeOf(draft) > limits.eventBytesMax) {
    return { code: "event_too_large", object: `entry ${at}` };
  }
  const result = legacyOperationImported.schema["~standard"].validate(draft.data);
  const isValid = !(result instanceof Promise) && result.issues === undefined;
  return isValid ? undefined : { code: "payload_invalid", object: `entry ${at}` };
}

function checkRecorded(
  store: LegacyOutboxDeps["store"],
  { id = "", data }: Draft,
  at: number,
): Problem | undefined {
  try {
    const event = store.get(id);
    const same = event !== undefined && canonicalJson(event.data) === canonicalJson(data);
    return same ? undefined : { code: "entry_missing", object: `entry ${at}` };
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
    return { code: error.code, object: `entry ${at}` };
  }
}

function isRecord(value: JsonValue | undefined): value is Entry {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

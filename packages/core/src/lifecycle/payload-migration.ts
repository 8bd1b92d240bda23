/**
 * The upgrade of an event type's payload under the migration contract. Sealed events are never rewritten: what moves is
 * what is folded from them. The dry run lifts every recorded payload through the upcasters, so that one which does not
 * lift is named before anything is built; migrating builds the affected read models anew; verifying finds them current
 * and the log as it was.
 */
import type { EventType } from "../event/registry.ts";
import { HoldfastError, isHoldfastError } from "../std/errors.ts";
import type { Migration, MigrationOutcome } from "./migration.ts";

interface HeadedEvent {
  readonly position: number;
  readonly leaf: string;
  readonly header: { readonly tv: number };
}

/** What of an open store it stands on; `Holdfast` is one. */
export interface PayloadGround {
  /** Throws `payload_unreadable` at an event that does not lift. */
  read(query: {
    readonly type?: string;
    readonly after?: number;
    readonly limit?: number;
    readonly headersOnly?: boolean;
  }): readonly HeadedEvent[];
  rebuild(model: string): Promise<void>;
  status(): {
    readonly projections: readonly { readonly name: string; readonly state: string }[];
  };
}

const eventsRead = 256;

/** Recorded payloads of a type, by schema version. */
export function payloadVersions(ground: PayloadGround, type: string): ReadonlyMap<number, number> {
  const counts = new Map<number, number>();
  for (const { header } of eventsOf(ground, type)) {
    counts.set(header.tv, (counts.get(header.tv) ?? 0) + 1);
  }
  return counts;
}

function* eventsOf(ground: PayloadGround, type: string): Generator<HeadedEvent> {
  for (let after = 0; ;) {
    const events = ground.read({ type, after, limit: eventsRead, headersOnly: true });
    yield* events;
    const last = events.at(-1);
    if (last === undefined) return;
    after = last.position;
  }
}

/**
 * The upgrade of that type from the oldest recorded version to the declared one, with the read models that fold it;
 * `undefined`: every recorded payload is of the declared version.
 */
export function createPayloadMigration(
  ground: PayloadGround,
  { type, version }: Pick<EventType, "type" | "version">,
  models: readonly string[],
): Migration | undefined {
  const oldest = Math.min(version, ...payloadVersions(ground, type).keys());
  if (oldest === version) return undefined;
  let built = false;
  let headBefore: HeadedEvent | undefined;
  return {
    id: `payload-${type}-${oldest}-to-${version}`,
    from: oldest,
    to: version,
    description: `Payloads of ${type} are read as version ${version}; the log stays as it is`,
    affected: models,
    // A process that ended while it built has built nothing that counts: building is repeated.
    stands: () => (built ? "after" : "before"),
    async backUp() {
      // The log is not touched, and what is built is built from it: its last event is what must still be there.
      headBefore = lastOf(ground, type);
    },
    dryRun: async () => lifted(ground, type),
    async migrate() {
      for (const model of models) await ground.rebuild(model);
      built = true;
      return { records: payloadsOf(ground, type), errors: 0 };
    },
    verify: async () => checkBuilt(ground, type, models, headBefore),
    async rollback() {
      // An earlier release folds its own read models; there is nothing of this one to take back.
    },
    async discard() {
      headBefore = undefined;
    },
  };
}

function payloadsOf(ground: PayloadGround, type: string): number {
  return [...payloadVersions(ground, type).values()].reduce((sum, count) => sum + count, 0);
}

function lastOf(ground: PayloadGround, type: string): HeadedEvent | undefined {
  let last: HeadedEvent | undefined;
  for (const event of eventsOf(ground, type)) last = event;
  return last;
}

/** Opens and lifts each; the first that does not is named by its position. */
function lifted(ground: PayloadGround, type: string): MigrationOutcome {
  let records = 0;
  let errors = 0;
  let problem: MigrationOutcome["problem"];
  for (const { position } of eventsOf(ground, type)) {
    records += 1;
    try {
      ground.read({ type, after: position - 1, limit: 1 });
    } catch (error) {
      if (!isHoldfastError(error)) throw error;
      errors += 1;
      problem ??= { code: error.code, object: `event ${position}` };
    }
  }
  return { records, errors, ...(problem === undefined ? {} : { problem }) };
}

function checkBuilt(
  ground: PayloadGround,
  type: string,
  models: readonly string[],
  headBefore: HeadedEvent | undefined,
): MigrationOutcome {
  const records = payloadsOf(ground, type);
  const failed = (code: string, object: string): MigrationOutcome => ({
    records,
    errors: 1,
    problem: { code, object },
  });
  if (headBefore !== undefined) {
    const [same] = ground.read({
      type,
      after: headBefore.position - 1,
      limit: 1,
      headersOnly: true,
    });
    if (same?.leaf !== headBefore.leaf)
      return failed("log_changed", `event ${headBefore.position}`);
  }
  const { projections } = ground.status();
  const behind = models.find(
    (model) => projections.find(({ name }) => name === model)?.state !== "current",
  );
  return behind === undefined ? { records, errors: 0 } : failed("model_behind", behind);
}

/** Throws `event_type_unknown` for a type that the registry does not declare. */
export function declaredType(types: ReadonlyMap<string, EventType>, name: string): EventType {
  const declared = types.get(name);
  if (declared === undefined) {
    throw new HoldfastError("event_type_unknown", { type: name.slice(0, 128) });
  }
  return declared;
}

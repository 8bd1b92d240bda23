/**
 * Migrations: a change of what lies on disk, in phases that survive a crash.
 *
 * A {@link Migration} says what it changes and how each step is done; {@link runMigration} takes it from phase to
 * phase. Where it stands is kept outside what it changes, in one small record behind the {@link MigrationRecords}
 * port, written durably before and after each step. A crash anywhere leaves a phase from which the next run goes on by
 * itself: before anything was changed it begins anew, afterwards it verifies, and what does not verify is rolled back.
 *
 * | Phase | Step | Then | When it fails |
 * | --- | --- | --- | --- |
 * | `planned` | back up | `backed-up` | `rolling-back` |
 * | `backed-up` | dry run, on a copy | `dry-run-passed` | `rolling-back` |
 * | `dry-run-passed` | | `migrating` | |
 * | `migrating` | migrate | `migrated` | `rolling-back` |
 * | `migrated` | | `verifying` | |
 * | `verifying` | verify | `verified` | `rolling-back` |
 * | `verified` | discard the copies | `committed` | stays |
 * | `rolling-back` | roll back | `rolled-back` | stays; a refused order: `committed` |
 * | `committed`, `rolled-back` | over | | |
 *
 * Sealed events are never rewritten: a change of a payload's shape is an upcaster, which runs when reading.
 */
import { type ErrorCode, HoldfastError, invariant, isHoldfastError } from "../std/errors.ts";
import type { Clock } from "../std/ports.ts";
import type { Observer } from "../telemetry/observer.ts";
import type { StartFinding } from "./start-checks.ts";

/** Phases in their order; the last two pairs are ends. */
export const migrationPhases = [
  "planned",
  "backed-up",
  "dry-run-passed",
  "migrating",
  "migrated",
  "verifying",
  "verified",
  "committed",
  "rolling-back",
  "rolled-back",
] as const;
/** Where a migration stands. */
export type MigrationPhase = (typeof migrationPhases)[number];

/** What a step did. */
export interface MigrationOutcome {
  /** Rows, events or entries that were carried over or checked. */
  readonly records: number;
  /** How many of them are not as they must be; any fails the step. */
  readonly errors: number;
  /** The first of these: a code and what it is about. Never content. */
  readonly problem?: { readonly code: string; readonly object: string };
}

/** What a migration is, before it runs. */
export interface MigrationPlan {
  readonly id: string;
  readonly from: number;
  readonly to: number;
  readonly description: string;
  /** Tables or read models that it changes. */
  readonly affected: readonly string[];
}

/** A migration over what it changes. Every step may be repeated; each throws the codes of what it stands on. */
export interface Migration extends MigrationPlan {
  /** Is what it changes as before, or as after? Nothing between can be seen. */
  stands(): "before" | "after";
  /** Makes what {@link Migration.rollback} puts back, verified and durable. */
  backUp(): Promise<void>;
  /** Does it on a copy, verifies that, and throws the copy away. */
  dryRun(): Promise<MigrationOutcome>;
  /** All of it or nothing. */
  migrate(): Promise<MigrationOutcome>;
  /** Is everything as it was, in the new form? Changes nothing. */
  verify(): Promise<MigrationOutcome>;
  /** Makes it as before; nothing to do where it is. Throws `migration_irreversible` where something would be lost. */
  rollback(): Promise<void>;
  /** Removes what the steps made beside. */
  discard(): Promise<void>;
}

/** What is kept of a migration, outside what it changes. */
export interface MigrationRecord {
  readonly v: 1;
  readonly id: string;
  readonly from: number;
  readonly to: number;
  readonly phase: MigrationPhase;
  /** UTC ms. */
  readonly startedAt: number;
  readonly changedAt: number;
  /** Time in its steps, over all runs. */
  readonly durationMs: number;
  readonly records: number;
  readonly errors: number;
  /** Build id of the software that last worked at it. */
  readonly app: string;
  /** Why it is rolled back: a code, and the phase that it ended. */
  readonly failure?: { readonly code: string; readonly object: string; readonly phase: string };
  /** It was committed, and is taken back by order: where that is refused it stays committed. */
  readonly undone?: boolean;
  /** The audit event that tells of its end. */
  readonly audit?: { readonly id: string; readonly told: boolean };
}

/** Keeps one record, outside what is migrated. */
export interface MigrationRecords {
  /** The record; `undefined` without one, or when it cannot be read as one. */
  read(): MigrationRecord | undefined;
  /** Durable when it returns, all of it or none. */
  write(record: MigrationRecord): void;
}

/** Ports of a run. */
export interface MigrationDeps {
  readonly records: MigrationRecords;
  readonly clock: Clock;
  readonly observer: Observer;
  readonly app: string;
}

type Step = "backUp" | "dryRun" | "migrate" | "verify" | "discard" | "rollback" | "none";

interface Rule {
  readonly step: Step;
  readonly passed: MigrationPhase;
  readonly failed: MigrationPhase;
}

const over = (phase: MigrationPhase): Rule => ({ step: "none", passed: phase, failed: phase });

/** The table of the module header. */
export const migrationRules: Readonly<Record<MigrationPhase, Rule>> = {
  planned: { step: "backUp", passed: "backed-up", failed: "rolling-back" },
  "backed-up": { step: "dryRun", passed: "dry-run-passed", failed: "rolling-back" },
  "dry-run-passed": { step: "none", passed: "migrating", failed: "rolling-back" },
  migrating: { step: "migrate", passed: "migrated", failed: "rolling-back" },
  migrated: { step: "none", passed: "verifying", failed: "rolling-back" },
  verifying: { step: "verify", passed: "verified", failed: "rolling-back" },
  verified: { step: "discard", passed: "committed", failed: "verified" },
  committed: over("committed"),
  "rolling-back": { step: "rollback", passed: "rolled-back", failed: "rolling-back" },
  "rolled-back": over("rolled-back"),
};

/** Is nothing left to do? */
export function isMigrationOver(phase: MigrationPhase): boolean {
  return phase === "committed" || phase === "rolled-back";
}

/**
 * The phase that an interrupted migration goes on from. While everything is as before it begins anew: others may have
 * written since, and a copy of then is not a backup of now. What was migrated is verified again.
 */
export function resumedPhase(phase: MigrationPhase, stands: "before" | "after"): MigrationPhase {
  if (isMigrationOver(phase) || phase === "rolling-back") return phase;
  if (stands === "before") return "planned";
  // Committed to the medium, and the record did not hear of it.
  return phase === "verified" ? phase : "verifying";
}

/**
 * Takes a migration to its end, from wherever it stands; with `rollback` back to the beginning, from wherever it
 * stands. Throws `migration_failed` when it had to be rolled back, and what a step threw where even that is not
 * possible now; the next run then goes on.
 */
export async function runMigration(
  deps: MigrationDeps,
  migration: Migration,
  order: "apply" | "rollback" = "apply",
): Promise<MigrationRecord> {
  const end = deps.observer.span("migrate", { operation: order });
  let result: "ok" | "error" = "error";
  try {
    let record = begun(deps, migration, order);
    while (!isMigrationOver(record.phase)) record = await advance(deps, migration, record);
    const { phase, failure, records, durationMs } = record;
    result = failure === undefined ? "ok" : "error";
    deps.observer.count("migrations", 1, { operation: order, result });
    deps.observer.observe("migration_duration", durationMs);
    deps.observer.log(result === "ok" ? "info" : "error", "migration_ended", { phase, records });
    if (failure !== undefined) {
      throw new HoldfastError("migration_failed", { migration: record.id, ...failure });
    }
    return record;
  } finally {
    end(result);
  }
}

/** The record to go on from, written. */
function begun(
  deps: MigrationDeps,
  migration: Migration,
  order: "apply" | "rollback",
): MigrationRecord {
  const kept = deps.records.read();
  const { id, from, to } = migration;
  const here = kept?.id === id ? kept : undefined;
  const stands = migration.stands();
  const fresh = { v: 1, id, from, to, records: 0, errors: 0, durationMs: 0 } as const;
  const startedAt = deps.clock.now();
  const planned: MigrationRecord = {
    ...fresh,
    phase: order === "apply" ? "planned" : "rolling-back",
    startedAt,
    changedAt: startedAt,
    app: deps.app,
  };
  const isOpen = here !== undefined && !isMigrationOver(here.phase);
  if (order === "rollback") {
    const undone = here?.phase === "committed";
    return noted(deps, isOpen ? { ...here, phase: "rolling-back" } : { ...planned, undone });
  }
  if (isOpen) return noted(deps, { ...here, phase: resumedPhase(here.phase, stands) });
  if (here?.phase === "committed" && stands === "after") return here;
  invariant(stands === "before", "a migration that is not open begins before its change");
  return noted(deps, planned);
}

function noted(deps: MigrationDeps, record: MigrationRecord): MigrationRecord {
  const written = { ...record, changedAt: deps.clock.now(), app: deps.app };
  deps.records.write(written);
  return written;
}

/** One step, and the phase after it. */
async function advance(
  deps: MigrationDeps,
  migration: Migration,
  record: MigrationRecord,
): Promise<MigrationRecord> {
  const { step, passed, failed } = migrationRules[record.phase];
  const began = deps.clock.monotonic();
  const { phase } = record;
  const taken = await tried(migration, step);
  const durationMs = record.durationMs + Math.round(deps.clock.monotonic() - began);
  if (taken.failure === undefined) {
    const { records, errors } = taken.outcome ?? record;
    return noted(deps, { ...record, phase: passed, durationMs, records, errors });
  }
  if (record.undone === true && isHoldfastError(taken.cause, "migration_irreversible")) {
    noted(deps, { ...record, phase: "committed" });
  }
  // Nothing was changed or everything is verified: the step is tried again by the next run.
  if (failed === phase) throw taken.cause;
  const { outcome = record, failure } = taken;
  const { records, errors } = outcome;
  const told = { ...failure, phase };
  return noted(deps, { ...record, phase: failed, durationMs, records, errors, failure: told });
}

interface Taken {
  readonly outcome?: MigrationOutcome;
  readonly failure?: { readonly code: string; readonly object: string };
  readonly cause?: unknown;
}

async function tried(migration: Migration, step: Step): Promise<Taken> {
  if (step === "none") return {};
  try {
    const outcome = (await migration[step]()) ?? undefined;
    if (outcome === undefined) return {};
    const { errors, problem = { code: "unknown", object: "" } } = outcome;
    return errors === 0 ? { outcome } : { outcome, failure: problem };
  } catch (cause) {
    if (!isHoldfastError(cause)) throw cause;
    return { failure: { code: cause.code satisfies ErrorCode, object: step }, cause };
  }
}

/** What a start-up check says of a migration that did not come to its end. */
export function interruptedMigration(record: MigrationRecord | undefined): readonly StartFinding[] {
  if (record === undefined || isMigrationOver(record.phase)) return [];
  const object = `${record.id} ${record.phase}`;
  return [{ check: "format", code: "migration_interrupted", object }];
}

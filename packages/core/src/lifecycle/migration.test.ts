import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isHoldfastError, HoldfastError } from "../std/errors.ts";
import { silentObserver } from "../telemetry/observer.ts";
import {
  isMigrationOver,
  type Migration,
  type MigrationOutcome,
  migrationPhases,
  type MigrationRecord,
  migrationRules,
  resumedPhase,
  runMigration,
} from "./migration.ts";

class Crash extends Error {}

/** What lies on a medium: it survives a crash; everything else begins anew. */
interface Medium {
  form: "before" | "after";
  copy: "before" | undefined;
  record: MigrationRecord | undefined;
}

const clock = { now: () => 1_700_000_000_000, monotonic: () => 0 };

/** A migration whose process ends at the n-th touch of the medium, before or after it; `failing` steps fail. */
function process(medium: Medium, crashAt: number, failing: ReadonlySet<string>) {
  let touches = 0;
  const touch = (change: () => void): void => {
    touches += 1;
    if (touches === crashAt) throw new Crash();
    change();
    touches += 1;
    if (touches === crashAt) throw new Crash();
  };
  const outcome = (step: string): MigrationOutcome =>
    failing.has(step)
      ? { records: 3, errors: 1, problem: { code: "rows_differ", object: step } }
      : { records: 3, errors: 0 };
  const migration: Migration = {
    id: "store-format-1-to-2",
    from: 1,
    to: 2,
    description: "",
    affected: [],
    stands: () => medium.form,
    async backUp() {
      if (failing.has("backUp")) throw new HoldfastError("store_full");
      touch(() => (medium.copy = "before"));
    },
    dryRun: async () => outcome("dryRun"),
    async migrate() {
      if (failing.has("migrate")) throw new HoldfastError("store_io_error");
      // Nothing is changed that could not be put back.
      expect(medium.copy).toBe("before");
      touch(() => (medium.form = "after"));
      return outcome("-");
    },
    verify: async () => outcome("verify"),
    async rollback() {
      touch(() => {
        medium.form = "before";
        medium.copy = undefined;
      });
    },
    async discard() {
      touch(() => (medium.copy = undefined));
    },
  };
  const records = {
    read: () => medium.record,
    write: (record: MigrationRecord): void => touch(() => (medium.record = record)),
  };
  return { migration, deps: { records, clock, observer: silentObserver, app: "test" } };
}

/** Runs until a process comes to an end; how often it crashed. */
async function toTheEnd(
  medium: Medium,
  crashes: readonly number[],
  failing: ReadonlySet<string>,
  order: "apply" | "rollback" = "apply",
) {
  for (let run = 0; ; run++) {
    const { deps, migration } = process(medium, crashes[run] ?? -1, failing);
    try {
      return { record: await runMigration(deps, migration, order), crashed: run };
    } catch (error) {
      if (isHoldfastError(error, "migration_failed")) return { failed: error, crashed: run };
      if (!(error instanceof Crash)) throw error;
      // Seen from outside: as before or as after, and the record says so or is behind it.
      expect(["before", "after"]).toContain(medium.form);
    }
  }
}

describe("the table of phases", () => {
  it("has a rule for every phase, and every way ends", () => {
    for (const first of migrationPhases) {
      for (const way of ["passed", "failed"] as const) {
        let phase = first;
        for (let steps = 0; steps <= migrationPhases.length; steps++) {
          phase = migrationRules[phase][steps === 0 ? way : "passed"];
        }
        expect(isMigrationOver(phase)).toBe(true);
      }
    }
  });

  it("begins anew while nothing was changed, and verifies what was", () => {
    for (const phase of migrationPhases) {
      const same = isMigrationOver(phase) || phase === "rolling-back";
      expect(resumedPhase(phase, "before")).toBe(same ? phase : "planned");
      const after = same || phase === "verified" ? phase : "verifying";
      expect(resumedPhase(phase, "after")).toBe(after);
    }
  });
});

describe("a migration that crashes", () => {
  const crashes = fc.array(fc.integer({ min: 1, max: 24 }), { maxLength: 6 });
  const steps = fc.subarray(["backUp", "dryRun", "migrate", "verify"]);

  it("ends by itself: applied when all passes, else as before", async () => {
    await fc.assert(
      fc.asyncProperty(crashes, steps, async (at, failing) => {
        const medium: Medium = { form: "before", copy: undefined, record: undefined };
        const end = await toTheEnd(medium, at, new Set(failing));
        expect(medium.copy).toBeUndefined();
        if (failing.length === 0) {
          expect(end.record).toMatchObject({ phase: "committed", records: 3, errors: 0 });
          expect(medium.form).toBe("after");
        } else if (medium.form === "before") {
          expect(medium.record?.phase).toBe("rolled-back");
          expect(end.failed?.code).toBe("migration_failed");
        } else {
          // What a crash had let through before the step began to fail cannot be here: verify fails from the start.
          expect(failing).not.toContain("verify");
        }
      }),
    );
  });

  it("goes back by itself, from wherever it stood", async () => {
    await fc.assert(
      fc.asyncProperty(crashes, crashes, async (there, back) => {
        const medium: Medium = { form: "before", copy: undefined, record: undefined };
        const first = process(medium, there[0] ?? -1, new Set());
        await runMigration(first.deps, first.migration).catch((error: unknown) => {
          if (!(error instanceof Crash)) throw error;
        });
        const { record } = await toTheEnd(medium, back, new Set(), "rollback");
        expect(record?.phase).toBe("rolled-back");
        expect(medium).toMatchObject({ form: "before", copy: undefined });
      }),
    );
  });

  it("crashes at every touch of the medium, one after the other", async () => {
    let touched = 0;
    for (let at = 1; ; at++) {
      const medium: Medium = { form: "before", copy: undefined, record: undefined };
      const { crashed } = await toTheEnd(medium, [at], new Set());
      expect(medium).toMatchObject({ form: "after", copy: undefined });
      if (crashed === 0) break;
      touched += 1;
    }
    // Nine records and three changes, each before and after.
    expect(touched).toBe(2 * (8 + 3));
  });
});

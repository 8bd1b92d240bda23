import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  backupName,
  backupPolicy,
  backupPolicyDefault,
  backupsAmong,
  backupsToRemove,
  isBackupDue,
} from "./backup-plan.ts";

const store = "EBESExQVFhcYGRobHB0eHw";
const other = "-_ESExQVFhcYGRobHB0eHw";
const day = 86_400_000;
const policy = { everyMs: day, keep: 3, keepForMs: 10 * day };
const keptAt = (...times: readonly number[]) => {
  const names = times.map((at) => backupName(store, at));
  return backupsAmong(names, store);
};

describe("names of backups", () => {
  it("carry store and time", () => {
    const name = backupName(store, 1_796_073_580_256);
    expect(name).toBe(`holdfast-${store}-20261130T211940256Z.tar.zst.age`);
    expect(backupsAmong([name, "notes.txt", backupName(other, 5)], store)).toEqual([
      { name, at: 1_796_073_580_256 },
    ]);
  });

  it("are read in the form in which they are written", () => {
    const good = backupName(store, 0);
    const bad = [
      good.replace("19700101", "19700132"),
      good.replace("holdfast", "Holdfast"),
      `${good}.partial`,
      `../${good}`,
    ];
    expect(backupsAmong(bad, store)).toEqual([]);
  });
});

describe("when a backup is due", () => {
  it.each([
    ["none yet", [], 0, true],
    ["the newest is young", [0, day], 2 * day - 1, false],
    ["the newest is old enough", [0, day], 2 * day, true],
    ["the clock went back, and one before is young", [0, 50 * day], day / 2, false],
    ["the clock went back, and one before is old", [0, 50 * day], day, true],
  ])("%s", (_, times, now, due) => {
    expect(isBackupDue(policy, keptAt(...times), now)).toBe(due);
  });
});

describe("which backups go", () => {
  it("those beyond count and age, the oldest first", () => {
    const kept = keptAt(...[0, 1, 2, 3, 20, 21].map((days) => days * day));
    const gone = backupsToRemove(policy, kept, 12 * day).map(({ at }) => at / day);
    expect(gone).toEqual([0, 1]);
  });

  it("never leaves fewer than the count, nor takes a young one or the newest", () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.integer({ min: 0, max: 400 * day }), { maxLength: 20 }),
        fc.integer({ min: 0, max: 500 * day }),
        fc.integer({ min: 1, max: 10 }),
        (times, now, keep) => {
          const kept = keptAt(...times);
          const gone = backupsToRemove({ ...policy, keep }, kept, now);
          expect(kept.length - gone.length).toBeGreaterThanOrEqual(Math.min(keep, kept.length));
          expect(gone.every(({ at }) => now - at > policy.keepForMs)).toBe(true);
          expect(gone).not.toContainEqual(kept.at(-1));
        },
      ),
    );
  });
});

describe("the policy", () => {
  it("has defaults", () => {
    expect(backupPolicy({})).toEqual(backupPolicyDefault);
  });

  it.each([{ keep: 0 }, { keep: 1.5 }, { everyMs: -1 }, { keepForMs: Number.NaN }])(
    "refuses %j",
    (options) => {
      expect(() => backupPolicy(options)).toThrow("backup_policy_invalid");
    },
  );
});

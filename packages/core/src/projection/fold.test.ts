/** Snapshots: which is found, which are kept, which go. */
import { createSchema } from "@holdfast/core";
import { openPlainSqlite } from "@holdfast/node";
import { describe, expect, it } from "vitest";
import { limits } from "../std/limits.ts";
import { createSnapshots, foldStart } from "./fold.ts";

function made() {
  const driver = openPlainSqlite({ path: ":memory:", readOnly: false });
  createSchema(driver);
  const snapshots = createSnapshots(driver, 1);
  const put = (folded: number): void => {
    snapshots.put("s", { folded, position: folded * 2, recorded: folded * 10, state: { folded } });
  };
  const kept = (): readonly number[] =>
    driver
      .prepare("SELECT folded FROM snapshots WHERE build = 1 AND stream = 's' ORDER BY folded")
      .all<{ readonly folded: number }>()
      .map(({ folded }) => folded);
  return { driver, snapshots, put, kept };
}

describe("snapshots", () => {
  it("are found by events, by position and by recordedAt; where there is none, the beginning is", () => {
    const { driver, snapshots, put } = made();
    for (const folded of [256, 512, 768]) put(folded);
    expect(snapshots.before("s", { folded: 767 })).toMatchObject({ folded: 512 });
    expect(snapshots.before("s", { position: 1_535 })).toMatchObject({ folded: 512 });
    expect(snapshots.before("s", { recorded: 7_679 })).toMatchObject({ folded: 512 });
    expect(snapshots.before("s", {})).toEqual({
      folded: 768,
      position: 1_536,
      recorded: 7_680,
      state: { folded: 768 },
    });
    expect(snapshots.before("s", { folded: 255 })).toBe(foldStart);
    expect(snapshots.before("other", {})).toBe(foldStart);
    driver.close();
  });

  it("that something came in before are gone, and no others", () => {
    const { driver, snapshots, put, kept } = made();
    for (const folded of [256, 512, 768]) put(folded);
    snapshots.cutAfter("s", 512);
    expect(kept()).toEqual([256, 512]);
    snapshots.cutAfter("s", 300);
    expect(kept()).toEqual([256]);
    snapshots.drop();
    expect(kept()).toEqual([]);
    driver.close();
  });

  it("are bounded in number, the newer half unthinned", () => {
    const { driver, put, kept } = made();
    const every = limits.snapshotEvery;
    const most = limits.snapshotsPerStreamMax;
    const count = 1_000;
    for (let nth = 1; nth <= count; nth++) {
      put(nth * every);
      const now = kept();
      expect(now.length).toBeLessThanOrEqual(most);
      const newest = Array.from({ length: Math.min(nth, most / 2) }, (_, at) => (nth - at) * every);
      expect(now.toReversed().slice(0, newest.length)).toEqual(newest);
    }
    driver.close();
  });

  it("keep a state that is no row", () => {
    const { driver, snapshots } = made();
    snapshots.put("s", { folded: 256, position: 256, recorded: 1, state: undefined });
    expect(snapshots.before("s", {})).toMatchObject({ folded: 256, state: undefined });
    driver.close();
  });
});

import { describe, expect, it } from "vitest";
import { judgeMark } from "./judge.ts";
import type { Mark, MarkReading } from "./mark.ts";

const place = { folder: "/here", identity: "1" };
const roots: Readonly<Record<number, string>> = { 0: "r0", 4: "r4", 6: "r6" };
const log = {
  size: 6,
  rootAt: (size: number): string | undefined => roots[size],
  wasPulled: (hash: string): boolean => hash === "" || hash === "p1" || hash === "p2",
};

function reading(mark: Partial<Mark> | undefined, damaged = 0): MarkReading {
  const whole: Mark = {
    v: 1,
    store: "s",
    ...place,
    device: "d",
    incarnation: "i",
    size: 6,
    root: "r6",
    pulled: "",
    count: 1,
    ...mark,
  };
  return { mark: mark === undefined ? undefined : whole, damaged, present: true };
}

const folders = [
  { folder: "/here", identity: "1", name: "in its place" },
  { folder: "/here", identity: "2", name: "at its path in another folder" },
  { folder: "/there", identity: "1", name: "at another path" },
  { folder: "/there", identity: "2", name: "elsewhere" },
] as const;

describe("what the mark says", () => {
  // Every mark position (behind, equal, ahead; right or wrong root) in every place.
  it.each(
    folders.flatMap(({ name, ...at }) => {
      const here = at.folder === place.folder;
      const still = here && at.identity === place.identity;
      const moved = { verdict: "moved", findings: ["store_moved"] };
      const good = still ? { verdict: "same", findings: [] } : moved;
      const rewritten = { verdict: "rewritten", findings: ["store_rewritten"] };
      const ahead = here
        ? { verdict: "rolled-back", findings: ["store_rolled_back"] }
        : { verdict: "moved", findings: ["store_cloned"] };
      return [
        [`equal, ${name}`, { ...at, size: 6, root: "r6" }, good],
        [`lagging, ${name}`, { ...at, size: 4, root: "r4" }, good],
        [`of an empty log, ${name}`, { ...at, size: 0, root: "r0" }, good],
        [`of another history, ${name}`, { ...at, size: 6, root: "other" }, rewritten],
        [`of another past, ${name}`, { ...at, size: 4, root: "other" }, rewritten],
        [`of a size where no commit ended, ${name}`, { ...at, size: 5, root: "r5" }, rewritten],
        [`ahead, ${name}`, { ...at, size: 7, root: "r7" }, ahead],
      ] as const;
    }),
  )("%s", (_, mark, judgement) => {
    expect(judgeMark(reading(mark), log, place)).toEqual(judgement);
  });

  it("finds an older copy by what was pulled", () => {
    const judged = (mark: Partial<Mark>) => judgeMark(reading(mark), log, place);
    expect(judged({ pulled: "p1" })).toEqual({ verdict: "same", findings: [] });
    const back = { verdict: "rolled-back", findings: ["store_rolled_back"] };
    expect(judged({ pulled: "p3" })).toEqual(back);
    const copy = { verdict: "moved", findings: ["store_cloned"] };
    expect(judged({ pulled: "p3", folder: "/there" })).toEqual(copy);
  });

  it("opens a new incarnation without a mark", () => {
    const judgement = { verdict: "moved", findings: ["mark_missing"] };
    expect(judgeMark(reading(undefined), log, place)).toEqual(judgement);
  });

  it("tells a damaged slot besides", () => {
    expect(judgeMark(reading({}, 1), log, place)).toEqual({
      verdict: "same",
      findings: ["mark_damaged"],
    });
    expect(judgeMark(reading(undefined, 2), log, place).findings).toEqual([
      "mark_damaged",
      "mark_missing",
    ]);
  });
});

import { describe, expect, it } from "vitest";
import {
  isAllowed,
  judgeProfile,
  weakFlags,
  type Weakness,
  weaknesses,
  type WeakFlag,
} from "./profile.ts";

const all = Object.keys(weaknesses) as Weakness[];

describe("profiles", () => {
  for (const weakness of all) {
    it(`production refuses ${weakness} by name, whatever the flags`, () => {
      const found = [{ weakness, found: "here" }];
      for (const flag of ["weak", weakness] as const) {
        const { refused } = judgeProfile("production", [flag], found);
        expect(refused.map(({ setting }) => setting)).toEqual([flag, weakness]);
      }
      expect(judgeProfile("production", [], found).refused).toEqual([
        { setting: weakness, found: "here" },
      ]);
    });

    it(`development lets ${weakness} pass with its flag, its group or all, and warns`, () => {
      const found = [{ weakness, found: "here" }];
      const group = weakness.split(".").slice(0, 2).join(".") as WeakFlag;
      for (const flag of [weakness, group, "weak"] as const) {
        expect(judgeProfile("development", [flag], found)).toEqual({
          refused: [],
          warnings: found,
        });
      }
      const others = weakFlags.filter((flag) => !isAllowed([flag], weakness));
      const { refused, warnings } = judgeProfile("development", others, found);
      const { tolerated } = weaknesses[weakness];
      expect(refused).toHaveLength(tolerated ? 0 : 1);
      expect(warnings).toHaveLength(tolerated ? 1 : 0);
    });
  }

  it("lets a sound installation start in either, and a flag that production does not know in none", () => {
    expect(judgeProfile("production", [], [])).toEqual({ refused: [], warnings: [] });
    expect(judgeProfile("development", ["weak"], [])).toEqual({ refused: [], warnings: [] });
    expect(judgeProfile("production", ["weak.keys"], []).refused).toHaveLength(1);
  });
});

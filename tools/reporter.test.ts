import { expect, it } from "vitest";
import type { TestModule } from "vitest/node";
import { tally, tallyLines } from "./reporter.ts";

function moduleOf(states: readonly string[], errors = 0): TestModule {
  const tests = states.map((state) => ({ result: () => ({ state }) }));
  const shape = {
    errors: () => Array.from({ length: errors }, () => ({})),
    children: { allTests: () => tests },
  };
  return shape as unknown as TestModule;
}

it("counts tests, files that do not load, and errors outside tests", () => {
  const modules = [moduleOf(["passed", "failed", "skipped", "pending"]), moduleOf(["passed"], 1)];
  expect(tally(modules, 1)).toEqual({ passed: 2, failed: 4, skipped: 1 });
});

it("ends with passed and failed, after the skipped ones where there are any", () => {
  expect(tallyLines({ passed: 2, failed: 0, skipped: 0 })).toBe("2 passed, 0 failed\n");
  expect(tallyLines({ passed: 2, failed: 1, skipped: 3 })).toBe("3 skipped\n2 passed, 1 failed\n");
});

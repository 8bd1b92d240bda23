import { describe, expect, it } from "vitest";
import { type BuildStanding, uselessBuilds } from "./leftovers.ts";

type State = BuildStanding["state"];
const builds = (...states: readonly (readonly [name: string, state: State])[]): BuildStanding[] =>
  states.map(([name, state], at) => ({ build: at + 1, name, state }));
const useless = (...states: readonly (readonly [name: string, state: State])[]): number[] =>
  uselessBuilds(builds(...states)).map(({ build }) => build);

describe("useless builds of read models", () => {
  it("are those that nothing is read from, and no other", () => {
    expect(useless(["a", "current"])).toEqual([]);
    expect(useless(["a", "stopped"])).toEqual([]);
    expect(useless(["a", "building"])).toEqual([]);
    expect(useless(["a", "behind"])).toEqual([1]);
    // What is being built does not answer yet.
    expect(useless(["a", "current"], ["a", "building"])).toEqual([]);
    expect(useless(["a", "behind"], ["a", "building"])).toEqual([1]);
    // The first that answers is asked; the newest that was begun goes on.
    expect(useless(["a", "current"], ["a", "current"], ["a", "stopped"])).toEqual([2, 3]);
    expect(useless(["a", "building"], ["a", "building"])).toEqual([1]);
    // Another read model is no reason.
    expect(
      useless(["a", "current"], ["b", "current"], ["a", "building"], ["b", "building"]),
    ).toEqual([]);
  });

  it("never leave a read model that answers without an answer", () => {
    const states = ["building", "current", "stopped", "behind"] as const;
    for (const one of states) {
      for (const two of states) {
        for (const three of states) {
          const all = builds(["a", one], ["a", two], ["a", three]);
          const gone = new Set(uselessBuilds(all));
          const answering = (list: readonly BuildStanding[]) =>
            list.find(({ state }) => state === "current" || state === "stopped");
          expect(answering(all.filter((build) => !gone.has(build)))).toBe(answering(all));
        }
      }
    }
  });
});

import { type Decider, refuseCommand } from "@holdfast/core";
import { describe, expect, it } from "vitest";
import { given } from "./given-when-then.ts";

type Command = { readonly take: number };
type Event = { readonly taken: number };

const supply: Decider<{ readonly left: number }, Command, Event> = {
  initial: () => ({ left: 10 }),
  decide({ take }, { left }) {
    if (take < 0) throw new RangeError("cannot take less than nothing");
    if (take > left) return refuseCommand("not enough left");
    return take === 0 ? [] : [{ taken: take }];
  },
  evolve: ({ left }, { taken }) => ({ left: left - taken }),
};

describe("given, when, then", () => {
  it("pass when the decision is as expected", () => {
    given(supply, [])
      .when({ take: 3 })
      .then([{ taken: 3 }]);
    given(supply, []).when({ take: 0 }).then([]);
    given(supply, [{ taken: 4 }])
      .when({ take: 3 })
      .thenState({ left: 3 });
    given(supply, [{ taken: 8 }])
      .when({ take: 3 })
      .thenRefused();
    given(supply, [{ taken: 8 }])
      .when({ take: 3 })
      .thenRefused("not enough left");
    given(supply, []).when({ take: -1 }).thenThrows("less than nothing");
  });

  it("fail with past, state, command, expectation and outcome", () => {
    const decision = given(supply, [{ taken: 8 }]).when({ take: 3 });
    expect(() => {
      decision.then([{ taken: 3 }]);
    }).toThrow(
      [
        "The decision is another than expected.",
        '  given     [{"taken":8}]',
        '  state     {"left":2}',
        '  when      {"take":3}',
        '  expected  events [{"taken":3}]',
        "  came      refused: not enough left",
      ].join("\n"),
    );
  });

  it("fail for every other outcome", () => {
    const takes = given(supply, []).when({ take: 3 });
    const throws = given(supply, []).when({ take: -1 });
    const refuses = given(supply, []).when({ take: 11 });
    const wrong: readonly (() => void)[] = [
      () => takes.then([]),
      () => takes.then([{ taken: 3 }, { taken: 3 }]),
      () => takes.thenRefused(),
      () => takes.thenThrows(""),
      () => takes.thenState({ left: 10 }),
      () => throws.then([]),
      () => throws.thenRefused(),
      () => throws.thenThrows("another text"),
      () => throws.thenState({ left: 10 }),
      () => refuses.thenRefused("another reason"),
      () => refuses.thenThrows("not enough left"),
    ];
    for (const check of wrong) expect(check).toThrow("another than expected");
  });
});

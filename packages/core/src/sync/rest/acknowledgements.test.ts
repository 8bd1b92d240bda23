import { createNodeCrypto, openSqlite } from "@holdfast/node";
import { createOutboxBench } from "@holdfast/testkit";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { IndexRanges } from "../../proof/server-leaf.ts";
import { createAcknowledgements, withIndex } from "./acknowledgements.ts";

const memory = () =>
  openSqlite({ path: ":memory:", pageKey: undefined, readOnly: false, create: true });

describe("acknowledged indices", () => {
  it("are the set of what was added, in ranges that neither touch nor overlap", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(40)), (indices) => {
        const ranges = indices.reduce(withIndex, [] as IndexRanges);
        const listed = ranges.flatMap(([from, to]) =>
          Array.from({ length: to - from }, (_, at) => from + at),
        );
        expect(listed).toEqual([...new Set(indices)].toSorted((a, b) => a - b));
        for (const [at, [from]] of ranges.entries()) {
          if (at > 0) expect(from).toBeGreaterThan(ranges[at - 1]?.[1] ?? from);
        }
      }),
    );
  });

  it("know how far they reach without a gap, over several values", () => {
    const { driver } = createOutboxBench(createNodeCrypto(), memory());
    const of = createAcknowledgements(driver);
    expect([of.through(1), of.any()]).toEqual([0, false]);
    of.add(Array.from({ length: 5_000 }, (_, index) => ({ number: 1, index })));
    of.add([
      { number: 1, index: 5_001 },
      { number: 2, index: 0 },
    ]);
    expect([of.through(1), of.through(2), of.through(3)]).toEqual([5_000, 1, 0]);
    const asked = [4_999, 5_000, 5_001].map((index) => of.has({ number: 1, index }));
    expect(asked).toEqual([true, false, true]);
    of.clear();
    expect([of.through(1), of.any()]).toEqual([0, false]);
  });

  it("decide what a rebuilt outbox holds; a value that is none says nothing", () => {
    const bench = createOutboxBench(createNodeCrypto(), memory());
    bench.append("abcdef".split("").map((stream) => ({ stream })));
    const positions = (): readonly number[] =>
      bench.outbox.entries.list().map((each) => each.position);
    bench.within((outbox) => {
      outbox.delivered([2, 3]);
      createAcknowledgements(bench.driver).add([1, 2, 4].map((index) => ({ number: 1, index })));
    });
    expect(bench.outbox.check(10)).toEqual([{ position: 5, kind: "unexpected" }]);
    bench.within((outbox) => outbox.rebuild());
    expect(positions()).toEqual([1, 4, 6]);
    for (const value of ["no JSON", "7", '{"log":1,"ranges":7}', '{"log":1,"ranges":[7]}', "{}"]) {
      bench.driver.prepare("UPDATE sync SET value = ?").run(value);
      bench.within((outbox) => outbox.rebuild());
      expect(positions(), value).toEqual([1, 2, 3, 4, 5, 6]);
    }
  });
});

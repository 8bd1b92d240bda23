import { createNodeCrypto } from "@holdfast/node";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Bytes } from "../std/bytes.ts";
import { isHoldfastError } from "../std/errors.ts";
import { proveInclusions } from "./multiproof.ts";
import {
  createStoredTree,
  type HashSpan,
  type Prove,
  spanFromTiles,
  spansOf,
} from "./stored-tree.ts";
import { createHashSource, type LeafSource } from "./tiles.ts";
import {
  createTreeBuilder,
  emptyRange,
  proveConsistency,
  proveInclusion,
  rangeOfNodes,
} from "./tree.ts";

const crypto = createNodeCrypto();
/** More than 256^2, so that blocks of height 2 are needed. */
const most = 70_000;
const leaves = Array.from({ length: most }, (_, at) => crypto.sha256(Uint8Array.of(at, at >> 8)));
const roots: Bytes[] = [];
const whole = createTreeBuilder(crypto, emptyRange, (_tile, root) => roots.push(root));
for (const leaf of leaves) whole.append(leaf);
const source: LeafSource = {
  leaves: (from, to) => leaves.slice(from, to),
  tileRoots: (from, to) => roots.slice(from, to),
};

const read = (spans: readonly HashSpan[]): readonly (readonly Bytes[])[] =>
  spans.map((span) => spanFromTiles(crypto, source, span));

describe("stored tree", () => {
  const sizes = fc.oneof(fc.integer({ min: 1, max: 1_500 }), fc.integer({ min: 1, max: most }));

  test("every proof equals the one over all hashes, and reads only what it named", async () => {
    await fc.assert(
      fc.asyncProperty(sizes, fc.nat(), fc.nat(), async (size, a, b) => {
        const [index, other] = [a % size, b % size];
        const several = [...new Set([0, index, other])].toSorted((x, y) => x - y);
        const proofs: readonly Prove<unknown>[] = [
          (by, hashOf) => proveInclusion(by, index, size, hashOf),
          (by, hashOf) => proveConsistency(by, other + 1, size, hashOf),
          (by, hashOf) => proveInclusions(by, several, size, hashOf),
          (_, hashOf) => rangeOfNodes(size, hashOf),
        ];
        const asked: HashSpan[] = [];
        const tree = createStoredTree(crypto, size, (spans) => {
          asked.push(...spans);
          return read(spans);
        });
        for (const prove of proofs) {
          const direct = prove(crypto, createHashSource(crypto, source, size));
          expect(await tree.prove(prove)).toEqual(direct);
        }
        const names = asked.map(({ height, from }) => `${height}/${from}`);
        expect(new Set(names).size).toBe(names.length);
        for (const { height, from, to } of asked) {
          expect(from % 256).toBe(0);
          expect(to - from).toBeLessThanOrEqual(256);
          expect(to * 256 ** height).toBeLessThanOrEqual(size);
        }
      }),
      { numRuns: 40 },
    );
  });

  test("the range of nodes is that of the builder", async () => {
    const builder = createTreeBuilder(crypto);
    for (const size of [0, 1, 255, 256, 257, 65_535, 65_536, 65_537, most]) {
      for (const leaf of leaves.slice(builder.size, size)) builder.append(leaf);
      const tree = createStoredTree(crypto, size, read);
      expect(await tree.prove((_, hashOf) => rangeOfNodes(size, hashOf))).toEqual(builder.range());
    }
  });

  test("a store with fewer rows is found out", async () => {
    const prove: Prove<unknown> = (by, hashOf) => proveInclusion(by, 5, 700, hashOf);
    expect(spansOf(700, prove).map(({ height }) => height)).toContain(1);
    const short = createStoredTree(crypto, 700, (spans) => read(spans).map((one) => one.slice(1)));
    const failure: unknown = await short.prove(prove).catch((error: unknown) => error);
    expect(isHoldfastError(failure, "proof_source_short")).toBe(true);
    const none = createStoredTree(crypto, 700, () => []);
    await expect(none.prove(prove)).rejects.toThrow(/proof_source_short/);
    await expect(createStoredTree(crypto, 4, read).prove((_, at) => at(3, 0))).rejects.toThrow(
      /complete/,
    );
  });

  test("many proofs keep a bounded number of blocks, each proof whole", async () => {
    const size = 65_536;
    let batches = 0;
    const tree = createStoredTree(crypto, size, (spans) => {
      batches += 1;
      return read(spans);
    });
    for (let index = 0; index < size; index += 256 * 3) {
      const direct = createHashSource(crypto, source, size);
      expect(await tree.prove((by, hashOf) => proveInclusion(by, index, size, hashOf))).toEqual(
        proveInclusion(crypto, index, size, direct),
      );
    }
    expect(batches).toBe(Math.ceil(256 / 3));
    const again = batches;
    await tree.prove((by, hashOf) => proveInclusion(by, 65_280, size, hashOf));
    expect(batches).toBe(again);
  });
});

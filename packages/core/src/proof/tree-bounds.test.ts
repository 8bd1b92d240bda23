/** Forms and bounds of trees, ranges, claims and sources, with constants that need no outside vectors. */
import { createNodeCrypto } from "@holdfast/node";
import { describe, expect, test } from "vitest";
import { type Bytes, hex, u32, utf8 } from "../std/bytes.ts";
import { InvariantError, isHoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import { createHashSource, type LeafSource, rangeFromTiles } from "./tiles.ts";
import {
  appendLeaf,
  checkConsistency,
  checkInclusion,
  createTreeBuilder,
  emptyRange,
  type HashOf,
  isCompactRange,
  leafHash,
  nodeHash,
  proveConsistency,
  proveInclusion,
  rootOf,
} from "./tree.ts";

const crypto = createNodeCrypto();
const leaves = (count: number): Bytes[] =>
  Array.from({ length: count }, (_, at) => leafHash(crypto, u32(at)));
const hash = (at: number): Bytes => leafHash(crypto, u32(at));

describe("hashes", () => {
  test("are those of RFC 6962 §2.1", () => {
    expect(hex(rootOf(crypto, emptyRange))).toBe(
      "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    );
    expect(hex(leafHash(crypto, new Uint8Array(0)))).toBe(
      "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    );
    const [a, b] = leaves(2) as [Bytes, Bytes];
    expect(nodeHash(crypto, a, b)).toEqual(crypto.sha256(Uint8Array.of(1), a, b));
    expect(leafHash(crypto, utf8("x"))).toEqual(crypto.sha256(Uint8Array.of(0), utf8("x")));
  });
});

describe("compact ranges", () => {
  test("have one hash of 32 bytes for each set bit of a size", () => {
    const hashes = (count: number) => leaves(count);
    for (const [size, count] of [
      [0, 0],
      [1, 1],
      [2, 1],
      [3, 2],
      [8, 1],
      [2 ** 53 - 1, 53],
    ] as const) {
      expect([size, isCompactRange({ size, hashes: hashes(count) })]).toEqual([size, true]);
      expect([size, isCompactRange({ size, hashes: hashes(count + 1) })]).toEqual([size, false]);
      if (count === 0) continue;
      const less = hashes(count - 1);
      expect([size, isCompactRange({ size, hashes: less })]).toEqual([size, false]);
      const short = [...less, new Uint8Array(31)];
      expect([size, isCompactRange({ size, hashes: short })]).toEqual([size, false]);
    }
    for (const size of [-1, 0.5, Number.NaN, 2 ** 53])
      expect([size, isCompactRange({ size, hashes: [] })]).toEqual([size, false]);
  });

  test("give their state out as copies", () => {
    const builder = createTreeBuilder(crypto);
    builder.append(hash(0));
    const before = builder.range();
    const root = builder.root();
    expect(root).toEqual(hash(0));
    root.fill(0);
    builder.append(hash(1));
    expect(before).toEqual({ size: 1, hashes: [hash(0)] });
    expect(builder.root()).toEqual(nodeHash(crypto, hash(0), hash(1)));
    expect(appendLeaf(crypto, before, hash(1))).toEqual(builder.range());
    expect(before.hashes).toHaveLength(1);
  });

  test("end at 2^53-1 leaves", () => {
    const last = { size: Number.MAX_SAFE_INTEGER - 1, hashes: leaves(52) };
    const builder = createTreeBuilder(crypto, last);
    builder.append(hash(0));
    expect(builder.size).toBe(Number.MAX_SAFE_INTEGER);
    expect(() => builder.append(hash(1))).toThrow("a tree has at most 2^53-1 leaves");
  });
});

describe("bugs of a caller", () => {
  const never: HashOf = () => {
    throw new Error("asked");
  };
  test.each<[string, () => unknown]>([
    [
      "a compact range has one hash per set bit of its size",
      () => createTreeBuilder(crypto, { size: 1, hashes: [] }),
    ],
    ["a leaf is a hash of 32 bytes", () => createTreeBuilder(crypto).append(new Uint8Array(33))],
    ["a proven leaf is in the tree", () => proveInclusion(crypto, -1, 4, never)],
    ["a proven leaf is in the tree", () => proveInclusion(crypto, 0.5, 4, never)],
    ["a proven leaf is in the tree", () => proveInclusion(crypto, 0, 0.5, never)],
    ["a proven leaf is in the tree", () => proveInclusion(crypto, 0, 0, never)],
    ["a proven leaf is in the tree", () => proveInclusion(crypto, 1, 1, never)],
    ["tree sizes are whole numbers below 2^53", () => proveConsistency(crypto, 0.5, 4, never)],
    ["tree sizes are whole numbers below 2^53", () => proveConsistency(crypto, 1, 4.5, never)],
    [
      "a later tree is at least as large as a tree with leaves",
      () => proveConsistency(crypto, 0, 0, never),
    ],
    [
      "a later tree is at least as large as a tree with leaves",
      () => proveConsistency(crypto, 2, 1, never),
    ],
  ])("are named: %s", (message, run) => {
    expect(run).toThrow(InvariantError);
    expect(run).toThrow(message);
  });

  test("equal trees need no hashes", () => {
    expect(proveConsistency(crypto, 3, 3, never)).toEqual([]);
    expect(proveInclusion(crypto, 0, 1, never)).toEqual([]);
  });
});

describe("claims", () => {
  const [a, b, c] = leaves(3) as [Bytes, Bytes, Bytes];
  const ab = nodeHash(crypto, a, b);
  const abc = nodeHash(crypto, ab, c);

  test("of inclusion are of one leaf, path and size", () => {
    const claim = { leaf: a, index: 0, size: 3, root: abc, path: [b, c] };
    expect(checkInclusion(crypto, claim)).toBe(true);
    expect(checkInclusion(crypto, { ...claim, path: [b] })).toBe(false);
    expect(checkInclusion(crypto, { ...claim, path: [b, c, c] })).toBe(false);
    expect(checkInclusion(crypto, { ...claim, root: abc.slice(1) })).toBe(false);
    expect(checkInclusion(crypto, { ...claim, size: 0 })).toBe(false);
    expect(checkInclusion(crypto, { ...claim, index: 3 })).toBe(false);
    expect(checkInclusion(crypto, { leaf: c, index: 2, size: 3, root: abc, path: [ab] })).toBe(
      true,
    );
    // A path that leads to the root of the part of the tree below it.
    expect(checkInclusion(crypto, { leaf: a, index: 0, size: 3, root: ab, path: [b] })).toBe(false);
    expect(checkInclusion(crypto, { leaf: a, index: 0, size: 1, root: a, path: [] })).toBe(true);
    const short = a.slice(1);
    expect(checkInclusion(crypto, { leaf: short, index: 0, size: 1, root: short, path: [] })).toBe(
      false,
    );
  });

  test("of consistency at equal sizes have equal roots and no path", () => {
    const claim = { oldSize: 3, oldRoot: abc, newSize: 3, newRoot: abc, path: [] };
    expect(checkConsistency(crypto, claim)).toBe(true);
    expect(checkConsistency(crypto, { ...claim, path: [a] })).toBe(false);
    expect(checkConsistency(crypto, { ...claim, newRoot: ab })).toBe(false);
  });

  test("of consistency have a path, of hashes, to both roots", () => {
    const claim = { oldSize: 2, oldRoot: ab, newSize: 3, newRoot: abc, path: [c] };
    expect(checkConsistency(crypto, claim)).toBe(true);
    expect(checkConsistency(crypto, { ...claim, path: [] })).toBe(false);
    expect(checkConsistency(crypto, { ...claim, path: [c.slice(1)] })).toBe(false);
    expect(checkConsistency(crypto, { ...claim, oldRoot: ab.slice(1) })).toBe(false);
    expect(checkConsistency(crypto, { ...claim, oldRoot: a })).toBe(false);
    expect(checkConsistency(crypto, { ...claim, newRoot: ab })).toBe(false);
    expect(checkConsistency(crypto, { ...claim, oldSize: 4 })).toBe(false);
    // Consistent hashes, but of a tree whose right border the claimed size does not have.
    expect(checkConsistency(crypto, { ...claim, newSize: 5 })).toBe(false);
  });
});

describe("sources", () => {
  const all = leaves(300);
  const whole: LeafSource = {
    leaves: (from, to) => all.slice(from, to),
    tileRoots: (from, to) =>
      Array.from({ length: to - from }, () => {
        const builder = createTreeBuilder(crypto);
        for (const leaf of all.slice(0, 256)) builder.append(leaf);
        return builder.root();
      }),
  };

  test.each([-1, 0.5, Number.NaN, 2 ** 53])("have no size %d", (size) => {
    const message = "a tree size is a whole number below 2^53";
    expect(() => createHashSource(crypto, whole, size)).toThrow(message);
    expect(() => rangeFromTiles(crypto, whole, size)).toThrow(message);
  });

  test("answer for complete subtrees alone", () => {
    const hashOf = createHashSource(crypto, whole, 300);
    expect(hashOf(0, 299)).toEqual(all[299]);
    expect(hashOf(8, 0)).toEqual(whole.tileRoots(0, 1)[0]);
    for (const [level, index] of [
      [0, 300],
      [0, -1],
      [-1, 0],
      [8, 1],
      [9, 0],
    ] as const)
      expect(() => hashOf(level, index)).toThrow("the subtree is complete");
    expect(rangeFromTiles(crypto, whole, 0)).toEqual(emptyRange);
    expect(rangeFromTiles(crypto, whole, 256).hashes).toEqual(whole.tileRoots(0, 1));
  });

  test("are named with what they answered when rows are missing, too many or of another length", () => {
    const details = (source: Partial<LeafSource>, size: number): unknown => {
      try {
        rangeFromTiles(crypto, { ...whole, ...source }, size);
      } catch (error) {
        return isHoldfastError(error, "proof_source_short") ? error.details : error;
      }
      return undefined;
    };
    expect(details({ leaves: () => [] }, 300)).toEqual({
      rows: "leaves",
      from: 256,
      to: 300,
      answered: 0,
    });
    expect(details({ tileRoots: () => all.slice(0, 2) }, 300)).toEqual({
      rows: "tile roots",
      from: 0,
      to: 1,
      answered: 2,
    });
    expect(details({ leaves: () => [new Uint8Array(31)] }, 257)).toMatchObject({ answered: 1 });
    const short = { ...whole, leaves: () => [] };
    expect(() => createHashSource(crypto, short, 3)(0, 0)).toThrow(/proof_source_short.*leaves/);
    const roofless = { ...whole, tileRoots: () => [] };
    expect(() => createHashSource(crypto, roofless, 256)(7, 0)).not.toThrow();
    expect(() => createHashSource(crypto, roofless, 256)(8, 0)).toThrow(/tile roots/);
  });

  test("are read once per block while the block is remembered, the least recently used forgotten", () => {
    const size = 256 * (limits.proofBlocksMax + 2);
    const reads: number[] = [];
    const source: LeafSource = {
      leaves: (from, to) => {
        reads.push(from / 256);
        return Array.from({ length: to - from }, () => hash(0));
      },
      tileRoots: () => [],
    };
    const hashOf = createHashSource(crypto, source, size);
    const touch = (block: number) => hashOf(0, block * 256);
    for (let block = 0; block < limits.proofBlocksMax; block++) touch(block);
    touch(0);
    expect(reads).toHaveLength(limits.proofBlocksMax);
    // One more pushes block 1 out, not block 0, which was used since.
    touch(limits.proofBlocksMax);
    touch(0);
    expect(reads).toHaveLength(limits.proofBlocksMax + 1);
    touch(1);
    expect(reads.at(-1)).toBe(1);
    expect(reads).toHaveLength(limits.proofBlocksMax + 2);
  });

  test("are read in pages of tile roots", () => {
    const tiles = limits.proofReadRowsMax + 1;
    const pages: string[] = [];
    const source: LeafSource = {
      leaves: () => [],
      tileRoots: (from, to) => {
        pages.push(`${from}-${to}`);
        return Array.from({ length: to - from }, () => hash(0));
      },
    };
    const range = rangeFromTiles(crypto, source, tiles * 256);
    expect(pages).toEqual([`0-${tiles - 1}`, `${tiles - 1}-${tiles}`]);
    expect(isCompactRange(range)).toBe(true);
  });
});

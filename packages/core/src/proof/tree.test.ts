import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Bytes, equalBytes, fromBase64, fromHex, hex, u32 } from "../std/bytes.ts";
import { InvariantError, isHoldfastError } from "../std/errors.ts";
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

const crypto = {
  sha256(...parts: readonly Uint8Array[]): Bytes {
    const hash = createHash("sha256");
    for (const part of parts) hash.update(part);
    return Uint8Array.from(hash.digest());
  },
};

function leavesOf(size: number): Bytes[] {
  return Array.from({ length: size }, (_, i) => leafHash(crypto, u32(i)));
}

/** MTH of RFC 6962 §2.1, word for word. */
function naiveRoot(leaves: readonly Bytes[]): Bytes {
  if (leaves.length === 0) return crypto.sha256();
  if (leaves.length === 1) return leaves[0] as Bytes;
  let k = 1;
  while (k * 2 < leaves.length) k *= 2;
  return nodeHash(crypto, naiveRoot(leaves.slice(0, k)), naiveRoot(leaves.slice(k)));
}

function naiveHashOf(leaves: readonly Bytes[]): HashOf {
  return (level, index) => {
    const to = (index + 1) * 2 ** level;
    if (to > leaves.length) throw new Error("asked for an incomplete subtree");
    return naiveRoot(leaves.slice(index * 2 ** level, to));
  };
}

function flipped(bytes: Uint8Array, bit: number): Bytes {
  const out = Uint8Array.from(bytes);
  const at = Math.floor(bit / 8) % out.length;
  out[at] = (out[at] as number) ^ (1 << (bit % 8));
  return out;
}

const shared =
  process.env["HOLDFAST_SHARED"] ??
  fileURLToPath(new URL("../../../../../shared", import.meta.url));
const vectors = `${shared}/vectors/rfc6962`;
const absent = !existsSync(vectors);

interface Vector {
  readonly desc: string;
  readonly wantErr: boolean;
  readonly proof: readonly string[] | null;
}
interface InclusionVector extends Vector {
  readonly leafIdx: number;
  readonly treeSize: number;
  readonly root: string;
  readonly leafHash: string;
}
interface ConsistencyVector extends Vector {
  readonly size1: number;
  readonly size2: number;
  readonly root1: string;
  readonly root2: string;
}

function readVectors(folder: string): readonly (readonly [string, unknown])[] {
  const names = readdirSync(`${vectors}/${folder}`, { recursive: true, encoding: "utf8" });
  return names
    .filter((name) => name.endsWith(".json"))
    .map((name) => [
      name,
      JSON.parse(readFileSync(`${vectors}/${folder}/${name}`, "utf8")) as unknown,
    ]);
}
const decode = (text: string): Bytes => fromBase64(text) as Bytes;

describe.skipIf(absent)("RFC 6962 vectors (skipped where ../shared is absent)", () => {
  test("reference tree: every root, as range, builder and naive recursion", () => {
    const reference = JSON.parse(readFileSync(`${vectors}/reference-tree.json`, "utf8")) as {
      readonly leafInputsHex: readonly string[];
      readonly rootHashesHex: readonly string[];
    };
    expect(reference.rootHashesHex).toHaveLength(9);
    const leaves = reference.leafInputsHex.map((text) => leafHash(crypto, fromHex(text) as Bytes));
    let range = emptyRange;
    const builder = createTreeBuilder(crypto);
    for (const [size, root] of reference.rootHashesHex.entries()) {
      expect(hex(rootOf(crypto, range))).toBe(root);
      expect(hex(builder.root())).toBe(root);
      expect(hex(naiveRoot(leaves.slice(0, size)))).toBe(root);
      const leaf = leaves[size];
      if (leaf === undefined) continue;
      range = appendLeaf(crypto, range, leaf);
      builder.append(leaf);
    }
  });

  test("inclusion", () => {
    const all = readVectors("inclusion") as readonly (readonly [string, InclusionVector])[];
    expect(all.length).toBeGreaterThan(80);
    for (const [name, vector] of all) {
      const checked = checkInclusion(crypto, {
        leaf: decode(vector.leafHash),
        index: vector.leafIdx,
        size: vector.treeSize,
        root: decode(vector.root),
        path: (vector.proof ?? []).map(decode),
      });
      expect(checked, `${name}: ${vector.desc}`).toBe(!vector.wantErr);
    }
  });

  test("consistency", () => {
    const all = readVectors("consistency") as readonly (readonly [string, ConsistencyVector])[];
    expect(all.length).toBeGreaterThan(80);
    for (const [name, vector] of all) {
      const checked = checkConsistency(crypto, {
        oldSize: vector.size1,
        oldRoot: decode(vector.root1),
        newSize: vector.size2,
        newRoot: decode(vector.root2),
        path: (vector.proof ?? []).map(decode),
      });
      expect(checked, `${name}: ${vector.desc}`).toBe(!vector.wantErr);
    }
  });
});

describe("every tree up to 40 leaves", () => {
  const leaves = leavesOf(40);
  const hashOf = naiveHashOf(leaves);
  const roots = Array.from({ length: 41 }, (_, size) => naiveRoot(leaves.slice(0, size)));

  test("each leaf proves at each size", () => {
    for (let size = 1; size <= 40; size++)
      for (let index = 0; index < size; index++) {
        const path = proveInclusion(crypto, index, size, hashOf);
        const claim = {
          leaf: leaves[index] as Bytes,
          index,
          size,
          root: roots[size] as Bytes,
          path,
        };
        expect(checkInclusion(crypto, claim)).toBe(true);
        for (let other = 0; other < size; other++)
          if (other !== index)
            expect(checkInclusion(crypto, { ...claim, index: other })).toBe(false);
      }
  });

  test("each pair of sizes is consistent, and no proof serves another old size", () => {
    for (let newSize = 1; newSize <= 40; newSize++)
      for (let oldSize = 1; oldSize <= newSize; oldSize++) {
        const path = proveConsistency(crypto, oldSize, newSize, hashOf);
        const newRoot = roots[newSize] as Bytes;
        const claim = { oldSize, oldRoot: roots[oldSize] as Bytes, newSize, newRoot, path };
        expect(checkConsistency(crypto, claim)).toBe(true);
        for (let other = 0; other <= newSize; other++)
          if (other !== oldSize) {
            const forged = { ...claim, oldRoot: roots[other] as Bytes };
            expect(checkConsistency(crypto, forged)).toBe(false);
          }
      }
  });
});

describe("random trees", () => {
  const most = 1_400;
  const all = leavesOf(most);
  const source: LeafSource = {
    leaves: (from, to) => all.slice(from, to),
    tileRoots: (from, to) =>
      Array.from({ length: to - from }, (_, i) =>
        naiveRoot(all.slice((from + i) * 256, (from + i + 1) * 256)),
      ),
  };
  const sizes = fc.integer({ min: 1, max: most });

  test("compact range equals the recursion; builder resumes from any range", () => {
    fc.assert(
      fc.property(sizes, fc.nat(most), (size, cut) => {
        const first = createTreeBuilder(crypto);
        for (const leaf of all.slice(0, Math.min(cut, size))) first.append(leaf);
        const builder = createTreeBuilder(crypto, first.range());
        for (const leaf of all.slice(Math.min(cut, size), size)) builder.append(leaf);
        expect(builder.size).toBe(size);
        expect(isCompactRange(builder.range())).toBe(true);
        expect(hex(builder.root())).toBe(hex(naiveRoot(all.slice(0, size))));
      }),
      { numRuns: 60 },
    );
  });

  test("nodes, ranges and tile roots from tiles equal the direct ones", () => {
    const direct = naiveHashOf(all);
    fc.assert(
      fc.property(sizes, fc.nat(10), fc.nat(), (size, level, at) => {
        const count = Math.floor(size / 2 ** level);
        fc.pre(count > 0);
        const index = at % count;
        const hashOf = createHashSource(crypto, source, size);
        expect(hex(hashOf(level, index))).toBe(hex(direct(level, index)));
        const done: string[] = [];
        const builder = createTreeBuilder(crypto, emptyRange, (tile, root) => {
          done.push(`${tile} ${hex(root)}`);
        });
        for (const leaf of all.slice(0, size)) builder.append(leaf);
        expect(rangeFromTiles(crypto, source, size)).toEqual(builder.range());
        const stored = source.tileRoots(0, Math.floor(size / 256));
        expect(done).toEqual(stored.map((root, tile) => `${tile} ${hex(root)}`));
      }),
      { numRuns: 40 },
    );
  });

  test("inclusion checks, and any single change fails", () => {
    fc.assert(
      fc.property(sizes, fc.nat(), fc.nat(), fc.nat(), (size, i, s, bit) => {
        const index = i % size;
        const path = proveInclusion(crypto, index, size, createHashSource(crypto, source, size));
        const leaf = all[index] as Bytes;
        const claim = { leaf, index, size, root: rangeRoot(source, size), path };
        expect(checkInclusion(crypto, claim)).toBe(true);
        const bad = [
          { ...claim, leaf: flipped(leaf, bit) },
          { ...claim, root: flipped(claim.root, bit) },
          { ...claim, index: s % size === index ? index + size : s % size },
          { ...claim, size: size + path.length + 1 + (s % 1000) * size },
          { ...claim, path: [...path, leaf] },
          ...mutatedPaths(path, s, bit).map((mutated) => ({ ...claim, path: mutated })),
        ];
        for (const [at, wrong] of bad.entries()) {
          // Some other sizes give the same walk for the same path, so they are not part of the claim's hash.
          const same = at === 3 && proofLength(index, wrong.size) === path.length;
          if (!same) expect(checkInclusion(crypto, wrong), `change ${at}`).toBe(false);
        }
      }),
      { numRuns: 80 },
    );
  });

  test("consistency checks, and any single change fails", () => {
    fc.assert(
      fc.property(sizes, sizes, fc.nat(), fc.nat(), (a, b, s, bit) => {
        const [oldSize, newSize] = a < b ? [a, b] : [b, a];
        const hashOf = createHashSource(crypto, source, newSize);
        const path = proveConsistency(crypto, oldSize, newSize, hashOf);
        const [oldRoot, newRoot] = [rangeRoot(source, oldSize), rangeRoot(source, newSize)];
        const claim = { oldSize, oldRoot, newSize, newRoot, path };
        expect(checkConsistency(crypto, claim)).toBe(true);
        const bad = [
          { ...claim, oldRoot: flipped(oldRoot, bit) },
          { ...claim, newRoot: flipped(newRoot, bit) },
          { ...claim, oldSize: 0 },
          { ...claim, oldSize: newSize + 1 },
          { ...claim, newSize: oldSize - 1 },
          { ...claim, path: [...path, oldRoot] },
          ...mutatedPaths(path, s, bit).map((mutated) => ({ ...claim, path: mutated })),
        ];
        for (const [at, wrong] of bad.entries())
          expect(checkConsistency(crypto, wrong), `change ${at}`).toBe(false);
      }),
      { numRuns: 80 },
    );
  });
});

describe("edges", () => {
  test("sizes beyond 32 bits: a tree of equal leaves, up to 2^53-1", () => {
    // In a tree of equal leaves every perfect subtree of a level has one hash.
    const perfect = [leafHash(crypto, u32(7))];
    for (let level = 1; level <= 52; level++) {
      const below = perfect[level - 1] as Bytes;
      perfect.push(nodeHash(crypto, below, below));
    }
    const hashOf: HashOf = (level) => perfect[level] as Bytes;
    function root(size: number): Bytes {
      const hashes: Bytes[] = [];
      for (let level = 52; level >= 0; level--)
        if (Math.floor(size / 2 ** level) % 2 === 1) hashes.push(perfect[level] as Bytes);
      return rootOf(crypto, { size, hashes });
    }
    const max = Number.MAX_SAFE_INTEGER;
    for (const size of [2 ** 31, 2 ** 32 + 1, 2 ** 40 + 12_345, 2 ** 52, max]) {
      for (const index of [0, 1, 2 ** 31 - 1, size - 2, size - 1]) {
        const path = proveInclusion(crypto, index, size, hashOf);
        const claim = { leaf: perfect[0] as Bytes, index, size, root: root(size), path };
        expect(checkInclusion(crypto, claim)).toBe(true);
        expect(checkInclusion(crypto, { ...claim, leaf: flipped(claim.leaf, 3) })).toBe(false);
      }
      for (const oldSize of [1, 2 ** 31 - 1, 2 ** 31, size - 1]) {
        const path = proveConsistency(crypto, oldSize, size, hashOf);
        const claim = { oldSize, oldRoot: root(oldSize), newSize: size, newRoot: root(size), path };
        expect(checkConsistency(crypto, claim)).toBe(true);
        expect(checkConsistency(crypto, { ...claim, oldRoot: root(3) })).toBe(false);
      }
    }
  });

  test("siblings of another length never combine to a known hash", () => {
    const [a, b] = leavesOf(2) as [Bytes, Bytes];
    const root = nodeHash(crypto, a, b);
    const long = Uint8Array.from([...a, ...b.subarray(0, 1)]);
    const claim = { leaf: long, index: 0, size: 2, root, path: [b.slice(1)] };
    expect(equalBytes(nodeHash(crypto, long, b.slice(1)), root)).toBe(true);
    expect(checkInclusion(crypto, claim)).toBe(false);
  });

  test("a path that goes on above the claimed tree is refused", () => {
    const [a, b, c] = leavesOf(3) as [Bytes, Bytes, Bytes];
    const ab = nodeHash(crypto, a, b);
    expect(checkInclusion(crypto, { leaf: b, index: 0, size: 1, root: ab, path: [a] })).toBe(false);
    // Old and new hash both go on to a root that no tree of 3 and 4 leaves has.
    const wide = { oldSize: 3, oldRoot: nodeHash(crypto, b, nodeHash(crypto, a, c)), newSize: 4 };
    const wideRoot = nodeHash(crypto, b, nodeHash(crypto, a, nodeHash(crypto, c, a)));
    expect(checkConsistency(crypto, { ...wide, newRoot: wideRoot, path: [c, a, a, b] })).toBe(
      false,
    );
  });

  test("the empty tree has no consistency proof, whatever the path", () => {
    const [a, b] = leavesOf(2) as [Bytes, Bytes];
    const empty = { oldSize: 0, oldRoot: a, newSize: 2, newRoot: nodeHash(crypto, a, b) };
    expect(checkConsistency(crypto, { ...empty, path: [a, b] })).toBe(false);
    expect(checkConsistency(crypto, { ...empty, newSize: 0, newRoot: a, path: [] })).toBe(false);
  });

  test("sizes and indices that are none are false, not an error", () => {
    const [leaf] = leavesOf(1) as [Bytes];
    for (const wrong of [Number.NaN, -1, 0.5, 2 ** 53, Number.POSITIVE_INFINITY]) {
      const base = { leaf, index: 0, size: 1, root: leaf, path: [] };
      expect(checkInclusion(crypto, { ...base, size: wrong })).toBe(false);
      expect(checkInclusion(crypto, { ...base, index: wrong })).toBe(false);
      const pair = { oldSize: 1, oldRoot: leaf, newSize: 1, newRoot: leaf, path: [] };
      expect(checkConsistency(crypto, { ...pair, oldSize: wrong })).toBe(false);
      expect(checkConsistency(crypto, { ...pair, newSize: wrong })).toBe(false);
    }
  });

  test("asking for what cannot be proven is a bug", () => {
    const hashOf = naiveHashOf(leavesOf(4));
    expect(() => proveInclusion(crypto, 4, 4, hashOf)).toThrow(InvariantError);
    expect(() => proveConsistency(crypto, 0, 4, hashOf)).toThrow(InvariantError);
    expect(() => proveConsistency(crypto, 5, 4, hashOf)).toThrow(InvariantError);
    expect(() => createTreeBuilder(crypto, { size: 3, hashes: [] })).toThrow(InvariantError);
    expect(() => createTreeBuilder(crypto).append(new Uint8Array(31))).toThrow(InvariantError);
  });

  test("a source with missing rows is named", () => {
    const short: LeafSource = { leaves: () => [], tileRoots: () => [] };
    for (const run of [
      () => createHashSource(crypto, short, 3)(1, 0),
      () => createHashSource(crypto, short, 600)(8, 1),
      () => rangeFromTiles(crypto, short, 3),
      () => rangeFromTiles(crypto, short, 256),
    ])
      expect(codeOf(run)).toBe("proof_source_short");
    const whole = createHashSource(crypto, { leaves: () => leavesOf(3), tileRoots: () => [] }, 3);
    expect(() => whole(1, 1)).toThrow(InvariantError);
  });
});

test("heights above one tile of tiles: 2^17 + 300 leaves", () => {
  const size = 2 ** 17 + 300;
  const leaves: Bytes[] = [];
  const tiles: Bytes[] = [];
  const builder = createTreeBuilder(crypto, emptyRange, (_, root) => tiles.push(root));
  for (let i = 0; i < size; i++) {
    const leaf = new Uint8Array(32);
    leaf.set(u32(i));
    leaves.push(leaf);
    builder.append(leaf);
  }
  let rows = 0;
  const source: LeafSource = {
    leaves: (from, to) => ((rows += to - from), leaves.slice(from, to)),
    tileRoots: (from, to) => ((rows += to - from), tiles.slice(from, to)),
  };
  expect(rangeFromTiles(crypto, source, size)).toEqual(builder.range());
  expect(rows).toBe(513 + 44);
  const hashOf = createHashSource(crypto, source, size);
  for (const index of [0, 255, 65_536, 2 ** 17 - 1, 2 ** 17, size - 1]) {
    const path = proveInclusion(crypto, index, size, hashOf);
    const claim = { leaf: leaves[index] as Bytes, index, size, root: builder.root(), path };
    expect(checkInclusion(crypto, claim)).toBe(true);
  }
});

function rangeRoot(source: LeafSource, size: number): Bytes {
  return rootOf(crypto, rangeFromTiles(crypto, source, size));
}

/** Path length of RFC 6962 §2.1.1, by its recursion. */
function proofLength(index: number, size: number): number {
  if (size <= 1) return 0;
  let k = 1;
  while (k * 2 < size) k *= 2;
  return 1 + (index < k ? proofLength(index, k) : proofLength(index - k, size - k));
}

function mutatedPaths(path: readonly Bytes[], at: number, bit: number): (readonly Bytes[])[] {
  const index = at % path.length;
  const sibling = path[index];
  if (sibling === undefined) return [];
  return [
    path.with(index, flipped(sibling, bit)),
    path.with(index, sibling.slice(1)),
    path.toSpliced(index, 1),
    path.toSpliced(index, 0, sibling),
  ];
}

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return isHoldfastError(error) ? error.code : String(error);
  }
  return "none";
}

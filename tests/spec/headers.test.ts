import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  canonicalJson,
  type Header,
  hex,
  isCurrentHeader,
  isHoldfastError,
  leafHash,
  limits,
  parseHeader,
  utf8,
} from "@holdfast/core";
import { headerVectors, maximalHeader, minimalHeader, openingHeader } from "./header-vectors.ts";
import { crypto } from "./ports.ts";
import { compareVectors } from "./vector-file.ts";

function verdict(text: string): unknown {
  try {
    parseHeader(text);
    return { leaf: hex(leafHash(crypto, utf8(text))) };
  } catch (error) {
    if (!isHoldfastError(error, "header_invalid")) throw error;
    return error.details;
  }
}

const vectors = headerVectors();

describe("headers", () => {
  it("are the vectors of spec/vectors/headers.json", () => {
    compareVectors("headers", vectors);
    expect(new Set(vectors.map(({ name }) => name)).size).toBe(vectors.length);
  });

  it.each(vectors)("judges: $name", ({ text, expect: expected }) => {
    expect(verdict(text)).toEqual(expected);
  });

  it("reads what was encoded, and says what it knows whole", () => {
    for (const header of [minimalHeader, maximalHeader, openingHeader]) {
      const read = parseHeader(canonicalJson(header));
      expect(read).toEqual(header);
      expect(isCurrentHeader(read)).toBe(true);
    }
    expect(isCurrentHeader(parseHeader(canonicalJson({ ...minimalHeader, v: 2 })))).toBe(false);
  });

  it("bounds the whole text in bytes", () => {
    const filler = (length: number): string =>
      canonicalJson({ ...minimalHeader, v: 2, x: "é".repeat(length) });
    const room = Math.floor((limits.headerBytesMax - utf8(filler(0)).length) / 2);
    expect(verdict(filler(room))).toHaveProperty("leaf");
    expect(verdict(filler(room + 1))).toEqual({ path: "", reason: "size" });
  });

  it("goes round for generated headers", () => {
    const count = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER });
    const changes = fc.record(
      {
        seq: count,
        sseq: count,
        tv: count,
        at: fc.integer({ min: 0, max: 2 ** 48 - 1 }),
        op: fc.constantFrom("create", "sign", "review", "admin"),
        tier: fc.constantFrom("none", "software", "os", "hardware"),
        type: fc.stringMatching(/^[A-Za-z][A-Za-z0-9._-]{0,127}$/),
        role: fc.stringMatching(/^[A-Za-z][A-Za-z0-9._-]{0,127}$/),
        app: fc.stringMatching(/^[\x21-\x7e]{1,128}$/),
        inc: fc.stringMatching(/^[0-9a-f]{16}$/),
        dev: fc.stringMatching(/^[A-Za-z0-9_-]{22}$/),
        vv: fc.dictionary(fc.stringMatching(/^[A-Za-z0-9_-]{22}\/[0-9a-f]{16}$/), count),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(changes, (change) => {
        const header = { ...minimalHeader, ...change } as unknown as Header;
        expect(parseHeader(canonicalJson(header))).toEqual(header);
      }),
    );
  });

  it("gives every changed byte another leaf or refuses it", () => {
    const bytes = utf8(canonicalJson(maximalHeader));
    const leaf = hex(leafHash(crypto, bytes));
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: bytes.length - 1 }),
        fc.integer({ min: 1, max: 255 }),
        (at, flip) => {
          const other = Uint8Array.from(bytes);
          other[at] = (other[at] as number) ^ flip;
          // Bytes that are not UTF-8 read as U+FFFD: another text, therefore another leaf.
          expect(verdict(Buffer.from(other).toString("utf8"))).not.toEqual({ leaf });
        },
      ),
      { numRuns: 1_000 },
    );
  });
});

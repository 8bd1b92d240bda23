import { isHoldfastError } from "@holdfast/core";
import fc from "fast-check";
import { expect, test } from "vitest";
import { decodeFrames, encodeFrames } from "./frames.ts";

const name = fc.stringMatching(/^[a-z][a-z0-9_-]{0,30}$/);
const present = fc.record({
  section: name,
  key: name,
  state: fc.constant("present" as const),
  bytes: fc.uint8Array({ maxLength: 300 }),
});
const absent = fc.record({
  section: name,
  key: name,
  state: fc.constantFrom("owed", "shredded", "evicted"),
  bytes: fc.constant(undefined),
});
const frames = fc.array(fc.oneof(present, absent), { maxLength: 8 });

test("frames come back as they were", () => {
  fc.assert(
    fc.property(frames, (given) => {
      const encoded = encodeFrames(given);
      expect(decodeFrames(encoded)).toEqual(given);
    }),
  );
});

test("bytes that are cut, prolonged or none of these are corrupt, never something else", () => {
  fc.assert(
    fc.property(frames, fc.uint8Array({ maxLength: 60 }), fc.nat(), (given, noise, at) => {
      const encoded = encodeFrames(given);
      const cut = encoded.subarray(0, at % encoded.length);
      const longer = Uint8Array.from([...encoded, 0]);
      for (const bytes of [cut, longer, noise]) {
        try {
          decodeFrames(bytes);
          expect(bytes).toBe(noise);
        } catch (error) {
          expect(isHoldfastError(error, "store_corrupt")).toBe(true);
        }
      }
    }),
  );
});

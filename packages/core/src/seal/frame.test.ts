import { createNodeCrypto } from "@holdfast/node";
import { createChance, createLooseDataKey } from "@holdfast/testkit";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { concat } from "../std/bytes.ts";
import {
  commitSection,
  frameGeneration,
  frameVersion,
  openFrame,
  saltBytes,
  sealFrame,
} from "./frame.ts";

const crypto = createNodeCrypto();
const chance = createChance(1);
const key = createLooseDataKey({ crypto, chance }, "scope", "content", 7);
const leaf = chance.bytes(32);

function sealed(plaintext: Uint8Array) {
  const salt = chance.bytes(saltBytes);
  const commitment = commitSection(crypto, salt, plaintext);
  const frame = sealFrame(
    { crypto, random: chance },
    key,
    "content",
    leaf,
    concat(salt, plaintext),
  );
  return { salt, commitment, frame };
}

describe("frames", () => {
  it("open to what was sealed, of every size", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 500 }), (plaintext) => {
        const { salt, commitment, frame } = sealed(plaintext);
        const opened = openFrame(crypto, key, "content", leaf, frame, commitment);
        expect(opened).toEqual({ salt, plaintext });
        expect(frameGeneration(frame)).toBe(7);
        expect(frame.length).toBe(1 + 4 + 12 + saltBytes + plaintext.length + 16);
      }),
    );
  });

  it("do not open with another leaf, section, key or commitment", () => {
    const plaintext = chance.bytes(40);
    const { commitment, frame } = sealed(plaintext);
    const otherKey = createLooseDataKey({ crypto, chance }, "scope", "content", 7);
    const other = commitSection(crypto, chance.bytes(saltBytes), plaintext);
    expect(openFrame(crypto, key, "content", chance.bytes(32), frame, commitment)).toBeUndefined();
    expect(openFrame(crypto, key, "identity", leaf, frame, commitment)).toBeUndefined();
    expect(openFrame(crypto, otherKey, "content", leaf, frame, commitment)).toBeUndefined();
    expect(openFrame(crypto, key, "content", leaf, frame, other)).toBeUndefined();
  });

  it("do not open with any bit of nonce, ciphertext or tag changed, nor cut short", () => {
    const { commitment, frame } = sealed(chance.bytes(9));
    for (let bit = 5 * 8; bit < frame.length * 8; bit++) {
      const flipped = Uint8Array.from(frame);
      flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7));
      expect(openFrame(crypto, key, "content", leaf, flipped, commitment)).toBeUndefined();
    }
    for (let length = 0; length < frame.length; length++) {
      const cut = frame.subarray(0, length);
      expect(openFrame(crypto, key, "content", leaf, cut, commitment)).toBeUndefined();
    }
  });

  it("differ each time, and show nothing of what they hold", () => {
    const plaintext = new TextEncoder().encode("nosebleed of Ada, thirty minutes");
    const [one, two] = [sealed(plaintext).frame, sealed(plaintext).frame];
    expect(one).not.toEqual(two);
    expect(Buffer.from(one).includes("nosebleed")).toBe(false);
  });

  it("are no frames in another version, or too short", () => {
    const { frame } = sealed(new Uint8Array(0));
    expect(frameGeneration(frame)).toBe(7);
    expect(frameGeneration(frame.subarray(0, -1))).toBeUndefined();
    const newer = Uint8Array.from(frame);
    newer[0] = frameVersion + 1;
    expect(frameGeneration(newer)).toBeUndefined();
  });

  it("carry generations of four bytes", () => {
    const wide = createLooseDataKey({ crypto, chance }, "s", "content", 0xfffffffe);
    const frame = sealFrame(
      { crypto, random: chance },
      wide,
      "content",
      leaf,
      chance.bytes(saltBytes),
    );
    expect(frameGeneration(frame)).toBe(0xfffffffe);
  });
});

import { ed25519 } from "@noble/curves/ed25519.js";
import { p256 } from "@noble/curves/nist.js";
import { checkPublicKey, type PublicKeyProblem, spkiOfPublicKey } from "@holdfast/core";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

/** The verdict of the library for curves, which is no part of the code under test. */
function expected(publicKey: Uint8Array): PublicKeyProblem | undefined {
  const y = publicKey.map((byte, at) => (at === 31 ? byte & 0x7f : byte)).toReversed();
  const value = BigInt(`0x${Buffer.from(y).toString("hex")}`);
  if (value >= 2n ** 255n - 19n) return "not_canonical";
  let point: InstanceType<typeof ed25519.Point>;
  try {
    point = ed25519.Point.fromBytes(publicKey, true);
  } catch {
    return "not_on_curve";
  }
  if (point.isSmallOrder()) return "small_order";
  return point.isTorsionFree() ? undefined : "mixed_order";
}

const verdict = (publicKey: Uint8Array) =>
  checkPublicKey("ed25519", spkiOfPublicKey("ed25519", publicKey));

const { Point } = ed25519;
/** All points whose order divides 8. */
const torsion = (() => {
  const eighth = Point.fromHex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05");
  return Array.from({ length: 8 }, (_, times) =>
    times === 0 ? Point.ZERO : eighth.multiplyUnsafe(BigInt(times)),
  );
})();
const scalars = fc.bigInt({ min: 1n, max: Point.Fn.ORDER - 1n });

describe("checkPublicKey agrees with the library for curves", () => {
  it("on any 32 bytes", () => {
    const seen = new Set<string>();
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (bytes) => {
        const wanted = expected(bytes);
        seen.add(String(wanted));
        expect(verdict(bytes)).toBe(wanted);
      }),
      { numRuns: 200 },
    );
    expect(seen).toContain("not_on_curve");
    expect(seen).toContain("mixed_order");
  });

  it("on points of the subgroup with every part of small order", () => {
    fc.assert(
      fc.property(scalars, fc.constantFrom(...torsion), (scalar, part) => {
        const sum = Point.BASE.multiply(scalar).add(part);
        expect(verdict(sum.toBytes())).toBe(part.is0() ? undefined : "mixed_order");
        expect(verdict(part.toBytes())).toBe("small_order");
      }),
      { numRuns: 50 },
    );
  });

  it("on points of P-256, and on those with one bit changed", () => {
    const { Point: P256 } = p256;
    const bits = fc.integer({ min: 8, max: 65 * 8 - 1 });
    fc.assert(
      fc.property(fc.bigInt({ min: 1n, max: P256.Fn.ORDER - 1n }), bits, (scalar, bit) => {
        const key = P256.BASE.multiply(scalar).toBytes(false);
        expect(checkPublicKey("ecdsa-p256", spkiOfPublicKey("ecdsa-p256", key))).toBeUndefined();
        key[bit >> 3] = (key[bit >> 3] as number) ^ (1 << (bit & 7));
        const wanted = isPoint(key) ? undefined : "not_on_curve";
        expect(checkPublicKey("ecdsa-p256", spkiOfPublicKey("ecdsa-p256", key))).toBe(wanted);
      }),
      { numRuns: 50 },
    );
  });
});

function isPoint(key: Uint8Array): boolean {
  try {
    p256.Point.fromBytes(key).assertValidity();
    return true;
  } catch {
    return false;
  }
}

import { createNodeCrypto } from "@holdfast/node";
import { describe, expect, it } from "vitest";
import { type Bytes, concat, fromHex, utf8 } from "../std/bytes.ts";
import { spkiOfPublicKey } from "../std/keyforms.ts";
import type { Crypto, SignatureAlgorithm } from "../std/ports.ts";
import { checkPublicKey } from "./public-key.ts";
import { verifySignature } from "./signature.ts";

const node = createNodeCrypto();
const yes: Crypto = { ...node, verify: () => true };
const message = utf8("message");
const bytes = (text: string): Bytes => fromHex(text) as Bytes;
const order = bytes("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
const zero = new Uint8Array(32);
/** Encodes no small-order point: asked about as any other R. */
const plainR = new Uint8Array(32).fill(2);

/** Does the profile let the platform be asked about that signature? */
function asked(algorithm: SignatureAlgorithm, ...parts: readonly Uint8Array[]): boolean {
  return verifySignature(yes, algorithm, new Uint8Array(0), message, concat(...parts));
}

describe("signatures", () => {
  it.each(["ed25519", "ecdsa-p256"] as const)(
    "of %s count when they hold, and not else",
    (algorithm) => {
      const { privateKey, spki } = node.generateSigningKey(algorithm);
      expect(checkPublicKey(algorithm, spki)).toBeUndefined();
      const signature = node.signer(algorithm, privateKey)(message);
      expect(verifySignature(node, algorithm, spki, message, signature)).toBe(true);
      expect(verifySignature(node, algorithm, spki, utf8("other"), signature)).toBe(false);
    },
  );

  it("have 64 bytes", () => {
    for (const algorithm of ["ed25519", "ecdsa-p256"] as const) {
      expect(asked(algorithm, plainR, zero)).toBe(true);
      expect(asked(algorithm, plainR, zero.subarray(1))).toBe(false);
      expect(asked(algorithm, plainR, zero, Uint8Array.of(0))).toBe(false);
    }
  });

  it("of P-256 have s in the lower half of the order, whatever Ed25519 refuses", () => {
    expect(asked("ecdsa-p256", zero, new Uint8Array(32).fill(0x7f))).toBe(true);
    expect(asked("ecdsa-p256", zero, new Uint8Array(32).fill(0x80))).toBe(false);
  });

  it("of Ed25519 have S below the order, compared from the highest byte", () => {
    expect(asked("ed25519", plainR, order)).toBe(false);
    for (let at = 0; at < 32; at++) {
      const byte = order[at] as number;
      expect([at, asked("ed25519", plainR, order.with(at, byte + 1))]).toEqual([at, false]);
      if (byte > 0) {
        expect([at, asked("ed25519", plainR, order.with(at, byte - 1))]).toEqual([at, true]);
        // One less in a byte outweighs all that stands below it.
        const below = order.with(at, byte - 1).fill(0xff, 0, at);
        expect([at, asked("ed25519", plainR, below)]).toEqual([at, true]);
      }
    }
  });
});

const smallOrder = [
  "0100000000000000000000000000000000000000000000000000000000000000",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "0000000000000000000000000000000000000000000000000000000000000000",
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
];

describe("R of Ed25519", () => {
  it.each(smallOrder)("is not %s, with either sign; one byte beside it may be", (text) => {
    const point = bytes(text);
    const signed = point.with(31, (point[31] as number) | 0x80);
    expect(asked("ed25519", point, zero)).toBe(false);
    expect(asked("ed25519", signed, zero)).toBe(false);
    expect(checkPublicKey("ed25519", spkiOfPublicKey("ed25519", point))).toBe("small_order");
    for (let at = 0; at < 32; at++) {
      const near = point.with(at, (point[at] as number) ^ 0x40);
      expect([at, asked("ed25519", near, zero)]).toEqual([at, true]);
    }
  });

  it("is below the field's prime", () => {
    const prime = bytes("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f");
    for (const beyond of [prime, prime.with(0, 0xff), prime.with(31, 0xff)]) {
      expect(asked("ed25519", beyond, zero)).toBe(false);
      expect(checkPublicKey("ed25519", spkiOfPublicKey("ed25519", beyond))).toBe("not_canonical");
    }
    // One less than each of its bytes; below 0xed in the lowest only what has another problem.
    expect(asked("ed25519", prime.with(0, 0xeb), zero)).toBe(true);
    for (let at = 1; at < 31; at++) {
      expect([at, asked("ed25519", prime.with(at, 0xfe), zero)]).toEqual([at, true]);
    }
    expect(asked("ed25519", prime.with(31, 0x7e), zero)).toBe(true);
    expect(asked("ed25519", prime.with(31, 0x3f), zero)).toBe(true);
  });
});

describe("public keys", () => {
  const key = (text: string): Bytes => spkiOfPublicKey("ed25519", bytes(text));
  it("have a point of prime order", () => {
    const noPoint = key(`02${"00".repeat(31)}`);
    expect(checkPublicKey("ed25519", noPoint)).toBe("not_on_curve");
    const mixed = key("10eb7c3acfb2bed3e0d6ab89bf5a3d6afddd1176ce4812e38d9fd485058fdb1f");
    expect(checkPublicKey("ed25519", mixed)).toBe("mixed_order");
  });

  it("of P-256 lie on the curve, and have the form of their algorithm", () => {
    const { spki } = node.generateSigningKey("ecdsa-p256");
    const off = spki.with(spki.length - 1, (spki.at(-1) as number) ^ 1);
    expect(checkPublicKey("ecdsa-p256", off)).toBe("not_on_curve");
    expect(checkPublicKey("ed25519", spki)).toBe("not_canonical");
    expect(checkPublicKey("ecdsa-p256", new Uint8Array(0))).toBe("not_canonical");
  });
});

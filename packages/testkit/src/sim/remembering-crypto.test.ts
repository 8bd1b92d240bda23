import { utf8 } from "@holdfast/core";
import { createNodeCrypto } from "@holdfast/node";
import { describe, expect, it } from "vitest";
import { rememberingCrypto } from "./remembering-crypto.ts";

describe("cryptography that remembers", () => {
  it("answers as the one that it remembers for, again and for what differs in one byte", () => {
    const real = createNodeCrypto();
    const asked: string[] = [];
    const crypto = rememberingCrypto({
      ...real,
      verify(...call) {
        asked.push("verify");
        return real.verify(...call);
      },
    });
    const { privateKey, spki } = crypto.generateSigningKey("ed25519");
    const message = utf8("what was said");
    const signature = crypto.signer("ed25519", privateKey)(message);
    expect(crypto.signer("ed25519", privateKey)(message)).toEqual(signature);
    const other = crypto.generateSigningKey("ed25519");
    expect(crypto.signer("ed25519", other.privateKey)(message)).not.toEqual(signature);
    for (const _ of [1, 2]) {
      expect(crypto.verify("ed25519", spki, message, signature)).toBe(true);
      expect(crypto.verify("ed25519", spki, utf8("what was sald"), signature)).toBe(false);
      expect(crypto.verify("ed25519", other.spki, message, signature)).toBe(false);
      const altered = signature.map((byte, at) => (at === 5 ? byte ^ 1 : byte));
      expect(crypto.verify("ed25519", spki, message, altered)).toBe(false);
    }
    expect(asked).toHaveLength(4);
  });
});

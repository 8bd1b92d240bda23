import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  type Bytes,
  checkPublicKey,
  concat,
  type Crypto,
  fromHex,
  hex,
  pkcs8OfSecret,
  publicKeyOfSpki,
  secretOfPkcs8,
  type SignatureAlgorithm,
  utf8,
  verifySignature,
} from "@holdfast/core";
import { nobleCrypto } from "@holdfast/core/noble";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createNodeCrypto } from "./crypto.ts";
import { systemRandom } from "./random.ts";

const shared =
  process.env["HOLDFAST_SHARED"] ?? fileURLToPath(new URL("../../../../shared", import.meta.url));
const vectors = join(shared, "vectors");
const absent = !existsSync(vectors);

const node = createNodeCrypto();
const noble = nobleCrypto(systemRandom);
const both: readonly (readonly [string, Crypto])[] = [
  ["node", node],
  ["noble", noble],
];
const algorithms: readonly SignatureAlgorithm[] = ["ed25519", "ecdsa-p256"];

function bytes(text: string): Bytes {
  const out = fromHex(text);
  if (out === undefined) throw new Error("vectors are lower-case hex");
  return out;
}

interface Wycheproof<G> {
  readonly testGroups: readonly G[];
}

function wycheproof(name: string): unknown {
  const text = readFileSync(join(vectors, "wycheproof", `${name}_test.json`), "utf8");
  return JSON.parse(text);
}

describe.each(both)("%s", (_name, crypto) => {
  it.skipIf(absent)("passes Wycheproof AES-256-GCM (skipped without ../shared)", () => {
    interface Group {
      readonly ivSize: number;
      readonly keySize: number;
      readonly tagSize: number;
      readonly tests: readonly Record<
        "key" | "iv" | "aad" | "msg" | "ct" | "tag" | "result",
        string
      >[];
    }
    const groups = (wycheproof("aes_gcm") as Wycheproof<Group>).testGroups.filter(
      (group) => group.ivSize === 96 && group.keySize === 256 && group.tagSize === 128,
    );
    const tests = groups.flatMap((group) => group.tests);
    expect(tests.length).toBeGreaterThan(40);
    for (const test of tests) {
      const [key, iv, aad, msg] = [test.key, test.iv, test.aad, test.msg].map(bytes) as [
        Bytes,
        Bytes,
        Bytes,
        Bytes,
      ];
      const sealed = bytes(test.ct + test.tag);
      const opened = crypto.aead(key).decrypt(iv, sealed, aad);
      expect(opened).toEqual(test.result === "valid" ? msg : undefined);
      if (test.result === "valid") expect(crypto.aead(key).encrypt(iv, msg, aad)).toEqual(sealed);
    }
  });

  it.skipIf(absent)(
    "passes Wycheproof HKDF-SHA-256 through hmac (skipped without ../shared)",
    () => {
      interface Group {
        readonly tests: readonly (Record<"ikm" | "salt" | "info" | "okm" | "result", string> & {
          readonly size: number;
        })[];
      }
      const tests = (wycheproof("hkdf_sha256") as Wycheproof<Group>).testGroups.flatMap(
        (group) => group.tests,
      );
      const valid = tests.filter((test) => test.result === "valid");
      expect(valid.length).toBe(83);
      for (const test of valid) {
        // RFC 5869 §2.2: no salt is a salt of zeros.
        const salt = test.salt === "" ? new Uint8Array(32) : bytes(test.salt);
        const expand = crypto.hmac(crypto.hmac(salt).mac(bytes(test.ikm)));
        let block: Uint8Array = new Uint8Array();
        let out = "";
        for (let i = 1; out.length < 2 * test.size; i++) {
          block = expand.mac(block, bytes(test.info), Uint8Array.of(i));
          out += hex(block);
        }
        expect(out.slice(0, 2 * test.size)).toBe(test.okm);
      }
    },
  );

  it("derives the Argon2id vector of the reference implementation", () => {
    // phc-winner-argon2, src/test.c: version 13, t=2, m=2^8, p=1.
    const tag = crypto.argon2id(
      utf8("password"),
      utf8("somesalt"),
      { memoryKib: 256, passes: 2, lanes: 1 },
      32,
    );
    expect(hex(tag)).toBe("9dfeb910e80bad0311fee20f9c0e2b12c17987b4cac90c2ef54d5b3021c68bfe");
  });

  it("gives the X25519 public key of RFC 7748 §6.1", () => {
    const key = "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb";
    const publicKey = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f";
    expect(hex(crypto.x25519PublicKey(fromHex(key) ?? new Uint8Array()))).toBe(publicKey);
  });

  it("refuses short ciphertexts, changed tags and other lengths", () => {
    const aead = crypto.aead(new Uint8Array(32));
    const nonce = new Uint8Array(12);
    const sealed = aead.encrypt(nonce, utf8("text"), utf8("aad"));
    expect(aead.decrypt(nonce, sealed, utf8("aad"))).toEqual(utf8("text"));
    expect(aead.decrypt(nonce, sealed, utf8("aae"))).toBeUndefined();
    expect(aead.decrypt(nonce, sealed.subarray(0, 15), utf8("aad"))).toBeUndefined();
    expect(aead.decrypt(nonce, new Uint8Array(), utf8("aad"))).toBeUndefined();
    expect(() => aead.encrypt(new Uint8Array(16), nonce, nonce)).toThrow("nonce of 12 bytes");
    expect(() => crypto.aead(new Uint8Array(16))).toThrow("key of 32 bytes");
  });

  it("keeps its own copy of keys", () => {
    const key = new Uint8Array(32).fill(7);
    const kept = { mac: crypto.hmac(key), aead: crypto.aead(key) };
    const expected = [kept.mac.mac(key), kept.aead.encrypt(new Uint8Array(12), key, key)];
    const message = key.slice();
    key.fill(0);
    expect([
      kept.mac.mac(message),
      kept.aead.encrypt(new Uint8Array(12), message, message),
    ]).toEqual(expected);
  });

  it.each(algorithms)(
    "makes %s keys that every implementation reads, and low-S signatures",
    (algorithm) => {
      const { privateKey, spki } = crypto.generateSigningKey(algorithm);
      expect(checkPublicKey(algorithm, spki)).toBeUndefined();
      const secret = secretOfPkcs8(algorithm, privateKey) as Bytes;
      const publicKey = publicKeyOfSpki(algorithm, spki) as Bytes;
      expect(pkcs8OfSecret(algorithm, secret, publicKey)).toEqual(privateKey);
      for (const [, signing] of both) {
        const copy = privateKey.slice();
        const sign = signing.signer(algorithm, copy);
        copy.fill(0);
        for (let i = 0; i < 12; i++) {
          const message = utf8(`message ${i}`);
          const signature = sign(message);
          expect(signature).toHaveLength(64);
          for (const [, checking] of both) {
            expect(verifySignature(checking, algorithm, spki, message, signature)).toBe(true);
            expect(verifySignature(checking, algorithm, spki, utf8("other"), signature)).toBe(
              false,
            );
          }
        }
      }
      const other = algorithm === "ed25519" ? "ecdsa-p256" : "ed25519";
      expect(() => crypto.signer(other, privateKey)).toThrow("key_malformed");
      expect(() => crypto.signer(algorithm, concat(privateKey, Uint8Array.of(0)))).toThrow(
        "key_malformed",
      );
      expect(crypto.verify(other, spki, utf8("m"), new Uint8Array(64))).toBe(false);
    },
  );

  it("refuses P-256 private keys out of range", () => {
    const { spki } = crypto.generateSigningKey("ecdsa-p256");
    const point = publicKeyOfSpki("ecdsa-p256", spki) as Bytes;
    for (const secret of [new Uint8Array(32), new Uint8Array(32).fill(255)])
      expect(() => crypto.signer("ecdsa-p256", pkcs8OfSecret("ecdsa-p256", secret, point))).toThrow(
        "key_malformed",
      );
  });

  it("answers with plain bytes", () => {
    const { privateKey, spki } = crypto.generateSigningKey("ed25519");
    const aead = crypto.aead(new Uint8Array(32));
    const nonce = new Uint8Array(12);
    const sealed = aead.encrypt(nonce, nonce, nonce);
    for (const out of [
      crypto.sha256(nonce),
      crypto.sha256(nonce, nonce),
      crypto.hmac(nonce).mac(nonce),
      sealed,
      aead.decrypt(nonce, sealed, nonce),
      privateKey,
      spki,
      crypto.signer("ed25519", privateKey)(nonce),
    ])
      expect(Object.getPrototypeOf(out)).toBe(Uint8Array.prototype);
  });
});

describe("node and noble", () => {
  const data = fc.uint8Array({ maxLength: 300 });
  const key = fc.uint8Array({ minLength: 32, maxLength: 32 });

  it("agree on digests, MACs and sealed bytes", () => {
    fc.assert(
      fc.property(
        fc.array(data, { maxLength: 4 }),
        data,
        key,
        data,
        (parts, macKey, aeadKey, aad) => {
          expect(node.sha256(...parts)).toEqual(noble.sha256(...parts));
          expect(node.hmac(macKey).mac(...parts)).toEqual(noble.hmac(macKey).mac(...parts));
          const nonce = aeadKey.slice(0, 12);
          const text = concat(...parts);
          const sealed = node.aead(aeadKey).encrypt(nonce, text, aad);
          expect(sealed).toEqual(noble.aead(aeadKey).encrypt(nonce, text, aad));
          expect(node.aead(aeadKey).decrypt(nonce, sealed, aad)).toEqual(text);
          expect(noble.aead(aeadKey).decrypt(nonce, sealed, aad)).toEqual(text);
        },
      ),
      { numRuns: 150 },
    );
  });

  it("agree on Ed25519 signatures, which are deterministic, and on Argon2id", () => {
    fc.assert(
      fc.property(key, data, (seed, message) => {
        const pkcs8 = pkcs8OfSecret("ed25519", seed, new Uint8Array());
        expect(node.signer("ed25519", pkcs8)(message)).toEqual(
          noble.signer("ed25519", pkcs8)(message),
        );
      }),
      { numRuns: 20 },
    );
    const cost = { memoryKib: 64, passes: 2, lanes: 2 };
    expect(node.argon2id(utf8("pass"), utf8("saltsalt"), cost, 48)).toEqual(
      noble.argon2id(utf8("pass"), utf8("saltsalt"), cost, 48),
    );
  });

  it("agree on signatures and keys with one bit changed", () => {
    for (const algorithm of algorithms) {
      const { privateKey, spki } = node.generateSigningKey(algorithm);
      const message = utf8("message");
      const signature = node.signer(algorithm, privateKey)(message);
      fc.assert(
        fc.property(fc.nat(spki.length * 8 - 1), fc.nat(511), (keyBit, signatureBit) => {
          const otherKey = spki.slice();
          otherKey[keyBit >> 3] = (otherKey[keyBit >> 3] as number) ^ (1 << (keyBit & 7));
          const otherSignature = signature.slice();
          otherSignature[signatureBit >> 3] =
            (otherSignature[signatureBit >> 3] as number) ^ (1 << (signatureBit & 7));
          for (const [, crypto] of both) {
            expect(crypto.verify(algorithm, otherKey, message, signature)).toBe(false);
            expect(crypto.verify(algorithm, spki, message, otherSignature)).toBe(false);
          }
        }),
        { numRuns: 60 },
      );
      for (const length of [0, 63, 65])
        for (const [, crypto] of both)
          expect(crypto.verify(algorithm, spki, message, new Uint8Array(length))).toBe(false);
    }
  });
});

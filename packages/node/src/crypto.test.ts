import { execFileSync } from "node:child_process";
import { createECDH, createPublicKey } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  type Bytes,
  checkPublicKey,
  concat,
  type Crypto,
  fromHex,
  hex,
  isHighS,
  nobleCrypto,
  type PublicKeyProblem,
  pkcs8OfSecret,
  publicKeyOfSpki,
  secretOfPkcs8,
  type SignatureAlgorithm,
  spkiOfPublicKey,
  toLowS,
  utf8,
  verifySignature,
} from "@holdfast/core";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createNodeCrypto } from "./crypto.ts";
import { systemRandom } from "./random.ts";

const shared = process.env["HOLDFAST_SHARED"] ?? fileURLToPath(new URL("../../../../shared", import.meta.url));
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

function wycheproof<G>(name: string): readonly G[] {
  const text = readFileSync(join(vectors, "wycheproof", `${name}_test.json`), "utf8");
  return (JSON.parse(text) as Wycheproof<G>).testGroups;
}

interface Case {
  readonly name: string;
  readonly algorithm: SignatureAlgorithm;
  readonly spki: Bytes;
  readonly message: Bytes;
  readonly signature: Bytes;
  readonly flags: readonly string[];
  /** What Wycheproof says; it takes high-S, which the profile does not. */
  readonly result?: "valid" | "invalid";
}

interface SignatureGroup {
  readonly publicKeyDer: string;
  readonly tests: readonly {
    readonly tcId: number;
    readonly msg: string;
    readonly sig: string;
    readonly flags: readonly string[];
    readonly result: "valid" | "invalid";
  }[];
}

function wycheproofCases(algorithm: SignatureAlgorithm, file: string): readonly Case[] {
  return wycheproof<SignatureGroup>(file).flatMap((group) =>
    group.tests.map((test) => ({
      name: `${file} ${test.tcId}`,
      algorithm,
      spki: bytes(group.publicKeyDer),
      message: bytes(test.msg),
      signature: bytes(test.sig),
      flags: test.flags,
      result: test.result,
    })),
  );
}

interface CctvVector {
  readonly number: number;
  readonly key: string;
  readonly sig: string;
  readonly msg: string;
  readonly flags: readonly string[] | null;
}

function cctvCases(): readonly Case[] {
  const file = join(vectors, "cctv-ed25519", "ed25519vectors.json");
  return (JSON.parse(readFileSync(file, "utf8")) as readonly CctvVector[]).map((vector) => ({
    name: `cctv ${vector.number}`,
    algorithm: "ed25519",
    spki: spkiOfPublicKey("ed25519", bytes(vector.key)),
    message: utf8(vector.msg),
    signature: bytes(vector.sig),
    flags: vector.flags ?? [],
  }));
}

const signatureCases: readonly Case[] = absent
  ? []
  : [
      ...cctvCases(),
      ...wycheproofCases("ed25519", "ed25519"),
      ...wycheproofCases("ecdsa-p256", "ecdsa_secp256r1_sha256_p1363"),
    ];

/** Verdict of the whole profile: the key as at enrolment, then the signature as at ingest. */
function verdict(crypto: Crypto, one: Case): boolean {
  return (
    checkPublicKey(one.algorithm, one.spki) === undefined &&
    verifySignature(crypto, one.algorithm, one.spki, one.message, one.signature)
  );
}

/** The first `node` on the path, outside node_modules, whose major version is 20. */
function findNode20(): string | undefined {
  for (const folder of (process.env["PATH"] ?? "").split(delimiter)) {
    if (folder === "" || folder.includes("node_modules")) continue;
    const file = join(folder, process.platform === "win32" ? "node.exe" : "node");
    if (!existsSync(file)) continue;
    try {
      if (execFileSync(file, ["--version"], { encoding: "utf8" }).startsWith("v20.")) return file;
    } catch {
      // Not a program that runs here; look further.
    }
  }
  return undefined;
}

describe.skipIf(absent)("signature profile on published cases (skipped without ../shared)", () => {
  it("gives one verdict on OpenSSL and noble", () => {
    expect(signatureCases.length).toBe(914 + 151 + 262);
    const different = signatureCases.filter((one) => verdict(node, one) !== verdict(noble, one));
    expect(different.map((one) => one.name)).toEqual([]);
  });

  it("gives one verdict even where only the port is asked", () => {
    const different = signatureCases.filter(({ algorithm, spki, message, signature }) => {
      const [a, b] = both.map(([, crypto]) => crypto.verify(algorithm, spki, message, signature));
      return a !== b;
    });
    expect(different.map((one) => one.name)).toEqual([]);
  });

  it("passes exactly the CCTV cases without an edge, and refuses keys for what is flagged", () => {
    const edges = /^(low_order|non_canonical|reencoded_k)/;
    for (const one of signatureCases.filter(({ name }) => name.startsWith("cctv"))) {
      expect([one.name, verdict(node, one)]).toEqual([
        one.name,
        !one.flags.some((flag) => edges.test(flag)),
      ]);
      const problem = checkPublicKey("ed25519", one.spki);
      const keyFlags = ["low_order_A", "low_order_component_A", "non_canonical_A"];
      expect([one.name, problem !== undefined]).toEqual([
        one.name,
        one.flags.some((flag) => keyFlags.includes(flag)),
      ]);
    }
  });

  it("agrees with Wycheproof, high-S apart", () => {
    let highS = 0;
    for (const one of signatureCases.filter(({ result }) => result !== undefined)) {
      const isHigh = one.algorithm === "ecdsa-p256" && one.signature.length === 64 && isHighS(one.signature);
      if (isHigh && one.result === "valid") highS++;
      expect([one.name, verdict(node, one)]).toEqual([one.name, one.result === "valid" && !isHigh]);
      if (isHigh && one.result === "valid") {
        const low = { ...one, signature: toLowS(one.signature) };
        expect([verdict(node, low), verdict(noble, low)]).toEqual([true, true]);
      }
    }
    expect(highS).toBeGreaterThan(0);
  });

  const node20 = absent ? undefined : findNode20();
  it.skipIf(node20 === undefined)("gives the same on Node 20 (skipped without one on the path)", () => {
    const script = fileURLToPath(new URL("../../../tests/openssl-verdicts.mjs", import.meta.url));
    const input = JSON.stringify(
      signatureCases.map((one) => [one.algorithm, hex(one.spki), hex(one.message), hex(one.signature)]),
    );
    const output = execFileSync(node20 as string, [script], { input, encoding: "utf8" });
    expect(output).toHaveLength(signatureCases.length);
    const answers = new Map(signatureCases.map((one, i) => [one, output[i] === "1"]));
    const different = signatureCases.filter((one) => {
      const old: Crypto = { ...node, verify: () => answers.get(one) === true };
      return verdict(old, one) !== verdict(node, one);
    });
    expect(different.map((one) => one.name)).toEqual([]);
    expect([...output].filter((answer) => answer === "1").length).toBeGreaterThan(200);
  });
});

describe("checkPublicKey", () => {
  const p = 2n ** 255n - 19n;
  function encoded(y: bigint, sign: 0 | 1): Bytes {
    const out = new Uint8Array(32);
    for (let i = 0; i < 32; i++) out[i] = Number((y >> BigInt(8 * i)) & 255n);
    out[31] = (out[31] as number) | (sign << 7);
    return out;
  }
  const eighth = bytes("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05");
  const otherEighth = bytes("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a");
  const signed = (point: Bytes): Bytes => point.map((byte, i) => (i === 31 ? byte | 0x80 : byte));

  it.each<[string, Bytes, PublicKeyProblem]>([
    ["identity", encoded(1n, 0), "small_order"],
    ["identity with sign", encoded(1n, 1), "small_order"],
    ["order 2", encoded(p - 1n, 0), "small_order"],
    ["order 2 with sign", encoded(p - 1n, 1), "small_order"],
    ["order 4", encoded(0n, 0), "small_order"],
    ["order 4, other", encoded(0n, 1), "small_order"],
    ["order 8", eighth, "small_order"],
    ["order 8 with sign", signed(eighth), "small_order"],
    ["order 8, other", otherEighth, "small_order"],
    ["order 8, other with sign", signed(otherEighth), "small_order"],
    ["y = p", encoded(p, 0), "not_canonical"],
    ["y = p with sign", encoded(p, 1), "not_canonical"],
    ["y = p + 1", encoded(p + 1n, 0), "not_canonical"],
    ["y = 2^255 − 1", encoded(2n ** 255n - 1n, 1), "not_canonical"],
    ["no point", encoded(2n, 0), "not_on_curve"],
    ["mixed order", bytes("10eb7c3acfb2bed3e0d6ab89bf5a3d6afddd1176ce4812e38d9fd485058fdb1f"), "mixed_order"],
  ])("refuses Ed25519: %s", (name, key, problem) => {
    expect(checkPublicKey("ed25519", spkiOfPublicKey("ed25519", key))).toBe(problem);
    if (problem !== "small_order" && !name.startsWith("y = p")) return;
    // As R these encodings are refused before the platform is asked.
    const yes: Crypto = { ...node, verify: () => true };
    const good = node.generateSigningKey("ed25519").spki;
    expect(verifySignature(yes, "ed25519", good, utf8("m"), concat(key, new Uint8Array(32)))).toBe(false);
  });

  it("asks the platform about every other R, and no S from the order on", () => {
    const yes: Crypto = { ...node, verify: () => true };
    const { spki } = node.generateSigningKey("ed25519");
    const order = 2n ** 252n + 27742317777372353535851937790883648493n;
    const ask = (r: Bytes, s: bigint): boolean =>
      verifySignature(yes, "ed25519", spki, utf8("m"), concat(r, encoded(s, 0)));
    expect(ask(encoded(p - 2n, 0), order - 1n)).toBe(true);
    expect(ask(encoded(2n, 1), 0n)).toBe(true);
    expect(ask(encoded(2n, 0), order)).toBe(false);
    expect(ask(encoded(2n, 0), order + 1n)).toBe(false);
    expect(ask(encoded(2n, 0), 2n ** 255n)).toBe(false);
  });

  it("refuses P-256 keys in other forms and off the curve", () => {
    const ecdh = createECDH("prime256v1");
    const point = new Uint8Array(ecdh.generateKeys());
    const spki = spkiOfPublicKey("ecdsa-p256", point);
    expect(checkPublicKey("ecdsa-p256", spki)).toBeUndefined();
    expect(checkPublicKey("ed25519", spki)).toBe("not_canonical");

    const off = spki.slice();
    off[off.length - 1] = (off[off.length - 1] as number) ^ 1;
    expect(checkPublicKey("ecdsa-p256", off)).toBe("not_on_curve");
    const hybrid = spki.slice();
    hybrid[26] = 6 + ((point[64] as number) & 1);
    expect(checkPublicKey("ecdsa-p256", hybrid)).toBe("not_canonical");
    const beyond = spkiOfPublicKey("ecdsa-p256", concat(Uint8Array.of(4), new Uint8Array(64).fill(255)));
    expect(checkPublicKey("ecdsa-p256", beyond)).toBe("not_on_curve");
    const zero = spkiOfPublicKey("ecdsa-p256", concat(Uint8Array.of(4), new Uint8Array(64)));
    expect(checkPublicKey("ecdsa-p256", zero)).toBe("not_on_curve");

    const compressed = concat(
      bytes("3039301306072a8648ce3d020106082a8648ce3d030107032200"),
      new Uint8Array(ecdh.getPublicKey(null, "compressed")),
    );
    expect(createPublicKey({ key: Buffer.from(compressed), format: "der", type: "spki" }).type).toBe("public");
    expect(checkPublicKey("ecdsa-p256", compressed)).toBe("not_canonical");
    expect(checkPublicKey("ecdsa-p256", concat(spki, Uint8Array.of(0)))).toBe("not_canonical");
    expect(checkPublicKey("ecdsa-p256", new Uint8Array())).toBe("not_canonical");
  });
});

describe.each(both)("%s", (_name, crypto) => {
  it.skipIf(absent)("passes Wycheproof AES-256-GCM (skipped without ../shared)", () => {
    interface Group {
      readonly ivSize: number;
      readonly keySize: number;
      readonly tagSize: number;
      readonly tests: readonly Record<"key" | "iv" | "aad" | "msg" | "ct" | "tag" | "result", string>[];
    }
    const groups = wycheproof<Group>("aes_gcm").filter(
      (group) => group.ivSize === 96 && group.keySize === 256 && group.tagSize === 128,
    );
    const tests = groups.flatMap((group) => group.tests);
    expect(tests.length).toBeGreaterThan(40);
    for (const test of tests) {
      const [key, iv, aad, msg] = [test.key, test.iv, test.aad, test.msg].map(bytes) as [Bytes, Bytes, Bytes, Bytes];
      const sealed = bytes(test.ct + test.tag);
      const opened = crypto.aead(key).decrypt(iv, sealed, aad);
      expect(opened).toEqual(test.result === "valid" ? msg : undefined);
      if (test.result === "valid") expect(crypto.aead(key).encrypt(iv, msg, aad)).toEqual(sealed);
    }
  });

  it.skipIf(absent)("passes Wycheproof HKDF-SHA-256 through hmac (skipped without ../shared)", () => {
    interface Group {
      readonly tests: readonly (Record<"ikm" | "salt" | "info" | "okm" | "result", string> & { readonly size: number })[];
    }
    const tests = wycheproof<Group>("hkdf_sha256").flatMap((group) => group.tests);
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
  });

  it("derives the Argon2id vector of the reference implementation", () => {
    // phc-winner-argon2, src/test.c: version 13, t=2, m=2^8, p=1.
    const tag = crypto.argon2id(utf8("password"), utf8("somesalt"), { memoryKib: 256, passes: 2, lanes: 1 }, 32);
    expect(hex(tag)).toBe("9dfeb910e80bad0311fee20f9c0e2b12c17987b4cac90c2ef54d5b3021c68bfe");
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
    expect([kept.mac.mac(message), kept.aead.encrypt(new Uint8Array(12), message, message)]).toEqual(expected);
  });

  it.each(algorithms)("makes %s keys that every implementation reads, and low-S signatures", (algorithm) => {
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
          expect(verifySignature(checking, algorithm, spki, utf8("other"), signature)).toBe(false);
        }
      }
    }
    const other = algorithm === "ed25519" ? "ecdsa-p256" : "ed25519";
    expect(() => crypto.signer(other, privateKey)).toThrow("key_malformed");
    expect(() => crypto.signer(algorithm, concat(privateKey, Uint8Array.of(0)))).toThrow("key_malformed");
    expect(crypto.verify(other, spki, utf8("m"), new Uint8Array(64))).toBe(false);
  });

  it("refuses P-256 private keys out of range", () => {
    const { spki } = crypto.generateSigningKey("ecdsa-p256");
    const point = publicKeyOfSpki("ecdsa-p256", spki) as Bytes;
    for (const secret of [new Uint8Array(32), new Uint8Array(32).fill(255)])
      expect(() => crypto.signer("ecdsa-p256", pkcs8OfSecret("ecdsa-p256", secret, point))).toThrow("key_malformed");
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
      fc.property(fc.array(data, { maxLength: 4 }), data, key, data, (parts, macKey, aeadKey, aad) => {
        expect(node.sha256(...parts)).toEqual(noble.sha256(...parts));
        expect(node.hmac(macKey).mac(...parts)).toEqual(noble.hmac(macKey).mac(...parts));
        const nonce = aeadKey.slice(0, 12);
        const text = concat(...parts);
        const sealed = node.aead(aeadKey).encrypt(nonce, text, aad);
        expect(sealed).toEqual(noble.aead(aeadKey).encrypt(nonce, text, aad));
        expect(node.aead(aeadKey).decrypt(nonce, sealed, aad)).toEqual(text);
        expect(noble.aead(aeadKey).decrypt(nonce, sealed, aad)).toEqual(text);
      }),
      { numRuns: 150 },
    );
  });

  it("agree on Ed25519 signatures, which are deterministic, and on Argon2id", () => {
    fc.assert(
      fc.property(key, data, (seed, message) => {
        const pkcs8 = pkcs8OfSecret("ed25519", seed, new Uint8Array());
        expect(node.signer("ed25519", pkcs8)(message)).toEqual(noble.signer("ed25519", pkcs8)(message));
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
          otherSignature[signatureBit >> 3] = (otherSignature[signatureBit >> 3] as number) ^ (1 << (signatureBit & 7));
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

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
  type PublicKeyProblem,
  type SignatureAlgorithm,
  spkiOfPublicKey,
  toLowS,
  utf8,
  verifySignature,
} from "@holdfast/core";
import { nobleCrypto } from "@holdfast/core/noble";
import { createNodeCrypto, systemRandom } from "@holdfast/node";
import { describe, expect, it } from "vitest";

const shared =
  process.env["HOLDFAST_SHARED"] ?? fileURLToPath(new URL("../../shared", import.meta.url));
const vectors = join(shared, "vectors");
const absent = !existsSync(vectors);

const node = createNodeCrypto();
const noble = nobleCrypto(systemRandom);
const both: readonly (readonly [string, Crypto])[] = [
  ["node", node],
  ["noble", noble],
];

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
  return (wycheproof(file) as Wycheproof<SignatureGroup>).testGroups.flatMap((group) =>
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

  it("is needed: without it the platforms differ, and only on what it refuses", () => {
    const different = signatureCases.filter(({ algorithm, spki, message, signature }) => {
      const [a, b] = both.map(([, crypto]) => crypto.verify(algorithm, spki, message, signature));
      return a !== b;
    });
    const passed = different.filter((one) => both.some(([, crypto]) => verdict(crypto, one)));
    expect(passed.map((one) => one.name)).toEqual([]);
    const smallOrder = different.filter(({ flags }) =>
      flags.some(
        (flag) =>
          flag === "low_order_A" || flag === "low_order_R" || flag === "low_order_component_A",
      ),
    );
    expect(smallOrder.map((one) => one.name)).toEqual(different.map((one) => one.name));
    expect(different.length).toBeGreaterThan(0);
  });

  it("passes exactly the CCTV cases without an edge, and refuses keys for what is flagged", () => {
    const edges = /^(low_order|non_canonical|reencoded_k)/;
    for (const one of signatureCases.filter(({ name }) => name.startsWith("cctv"))) {
      expect([one.name, verdict(node, one)]).toEqual([
        one.name,
        !one.flags.some((flag) => edges.test(flag)),
      ]);
      const problem = checkPublicKey("ed25519", one.spki);
      const keyFlags = new Set(["low_order_A", "low_order_component_A", "non_canonical_A"]);
      expect([one.name, problem !== undefined]).toEqual([
        one.name,
        one.flags.some((flag) => keyFlags.has(flag)),
      ]);
    }
  });

  it("agrees with Wycheproof, high-S apart", () => {
    let highS = 0;
    for (const one of signatureCases.filter(({ result }) => result !== undefined)) {
      const isHigh =
        one.algorithm === "ecdsa-p256" && one.signature.length === 64 && isHighS(one.signature);
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
  it.skipIf(node20 === undefined)(
    "gives the same on Node 20 (skipped without one on the path)",
    () => {
      const script = fileURLToPath(new URL("./openssl-verdicts.mjs", import.meta.url));
      const input = JSON.stringify(
        signatureCases.map((one) => [
          one.algorithm,
          hex(one.spki),
          hex(one.message),
          hex(one.signature),
        ]),
      );
      const output = execFileSync(node20 as string, [script], { input, encoding: "utf8" });
      expect(output).toHaveLength(signatureCases.length);
      const answers = new Map(signatureCases.map((one, i) => [one, output[i] === "1"]));
      const different = signatureCases.filter((one) => {
        const old: Crypto = { ...node, verify: () => answers.get(one) === true };
        return verdict(old, one) !== verdict(node, one);
      });
      expect(different.map((one) => one.name)).toEqual([]);
      // Without the profile, too, noble is what OpenSSL 3.0 is: the equation without the cofactor.
      const raw = signatureCases.map((one) =>
        noble.verify(one.algorithm, one.spki, one.message, one.signature),
      );
      expect(raw.map((valid) => (valid ? "1" : "0")).join("")).toBe(output);
    },
  );
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
    [
      "mixed order",
      bytes("10eb7c3acfb2bed3e0d6ab89bf5a3d6afddd1176ce4812e38d9fd485058fdb1f"),
      "mixed_order",
    ],
  ])("refuses Ed25519: %s", (name, key, problem) => {
    expect(checkPublicKey("ed25519", spkiOfPublicKey("ed25519", key))).toBe(problem);
    if (problem !== "small_order" && !name.startsWith("y = p")) return;
    // As R these encodings are refused before the platform is asked.
    const yes: Crypto = { ...node, verify: () => true };
    const good = node.generateSigningKey("ed25519").spki;
    expect(verifySignature(yes, "ed25519", good, utf8("m"), concat(key, new Uint8Array(32)))).toBe(
      false,
    );
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
    const beyond = spkiOfPublicKey(
      "ecdsa-p256",
      concat(Uint8Array.of(4), new Uint8Array(64).fill(255)),
    );
    expect(checkPublicKey("ecdsa-p256", beyond)).toBe("not_on_curve");
    const zero = spkiOfPublicKey("ecdsa-p256", concat(Uint8Array.of(4), new Uint8Array(64)));
    expect(checkPublicKey("ecdsa-p256", zero)).toBe("not_on_curve");

    const compressed = concat(
      bytes("3039301306072a8648ce3d020106082a8648ce3d030107032200"),
      new Uint8Array(ecdh.getPublicKey(null, "compressed")),
    );
    expect(
      createPublicKey({ key: Buffer.from(compressed), format: "der", type: "spki" }).type,
    ).toBe("public");
    expect(checkPublicKey("ecdsa-p256", compressed)).toBe("not_canonical");
    expect(checkPublicKey("ecdsa-p256", concat(spki, Uint8Array.of(0)))).toBe("not_canonical");
    expect(checkPublicKey("ecdsa-p256", new Uint8Array())).toBe("not_canonical");
  });
});

import { readFileSync, writeFileSync } from "node:fs";
import { gcm } from "@noble/ciphers/aes.js";
import { x25519 } from "@noble/curves/ed25519.js";
import { expand, extract } from "@noble/hashes/hkdf.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { systemRandom } from "@holdfast/node";
import { describe, expect, it } from "vitest";
import {
  type Bytes,
  base64url,
  concat,
  fromBase64url,
  fromHex,
  fromUtf8,
  hex,
  utf8,
} from "../std/bytes.ts";
import { canonicalBytes } from "../std/jcs.ts";
import {
  type GrantedKey,
  type HpkeKeyPair,
  generateHpkeKeyPair,
  unwrapGrant,
  wrapGrant,
} from "./grant.ts";

const h = (text: string): Bytes => fromHex(text) as Bytes;
const none = new Uint8Array(0);

/** RFC 9180 by noble alone: base mode, one message, for any of the AES-GCM suites with X25519. */
function hpke(
  aead: { readonly id: number; readonly keyLength: number },
  secret: Bytes,
  enc: Bytes,
  pkR: Bytes,
  info: Bytes,
) {
  const kem = concat(utf8("KEM"), Uint8Array.of(0, 0x20));
  const suite = concat(utf8("HPKE"), Uint8Array.of(0, 0x20, 0, 1, 0, aead.id));
  const labeledExtract = (id: Bytes, salt: Bytes, label: string, ikm: Bytes) =>
    extract(sha256, concat(utf8("HPKE-v1"), id, utf8(label), ikm), salt);
  const labeledExpand = (
    id: Bytes,
    prk: Uint8Array,
    label: string,
    context: Bytes,
    length: number,
  ) =>
    expand(
      sha256,
      prk,
      concat(Uint8Array.of(0, length), utf8("HPKE-v1"), id, utf8(label), context),
      length,
    );
  const prk = labeledExtract(kem, none, "eae_prk", secret);
  const shared = Uint8Array.from(labeledExpand(kem, prk, "shared_secret", concat(enc, pkR), 32));
  const context = concat(
    Uint8Array.of(0),
    labeledExtract(suite, none, "psk_id_hash", none),
    labeledExtract(suite, none, "info_hash", info),
  );
  const schedule = labeledExtract(suite, shared, "secret", none);
  return {
    shared,
    key: labeledExpand(suite, schedule, "key", context, aead.keyLength),
    nonce: labeledExpand(suite, schedule, "base_nonce", context, 12),
  };
}
const aes256 = { id: 2, keyLength: 32 };

function pairOf(privateKey: Bytes): HpkeKeyPair {
  return { privateKey, publicKey: Uint8Array.from(x25519.getPublicKey(privateKey)) };
}

/** A grant made by noble with a fixed ephemeral key. */
function vector(kind: "data" | "pseudonym"): {
  readonly grant: string;
  readonly key: string;
  readonly recipient_private: string;
  readonly ephemeral_private: string;
  readonly tenant: string;
} {
  const recipient = pairOf(sha256(utf8("recipient")));
  const ephemeral = pairOf(sha256(utf8(`ephemeral ${kind}`)));
  const key = sha256(utf8(`granted ${kind}`));
  const tenant = "AAECAwQFBgcICQoLDA0ODw";
  const context = {
    v: 1,
    suite: "x25519-sha256-aes256gcm",
    kind,
    tenant,
    to: base64url(recipient.publicKey),
    ...(kind === "data"
      ? { id: "key-1", scope: "scope-1", section: "clinical", generation: 1 }
      : {}),
  };
  const aad = canonicalBytes(context);
  const dh = Uint8Array.from(x25519.getSharedSecret(ephemeral.privateKey, recipient.publicKey));
  const made = hpke(
    aes256,
    dh,
    ephemeral.publicKey,
    recipient.publicKey,
    concat(utf8("holdfast/grant/v1\n"), aad),
  );
  const ct = gcm(made.key, made.nonce, aad).encrypt(key);
  const grant = canonicalBytes({
    ...context,
    enc: base64url(ephemeral.publicKey),
    ct: base64url(ct),
  });
  return {
    grant: fromUtf8(grant),
    key: hex(key),
    recipient_private: hex(recipient.privateKey),
    ephemeral_private: hex(ephemeral.privateKey),
    tenant,
  };
}

describe("grant", () => {
  const own = generateHpkeKeyPair(systemRandom);
  const data: GrantedKey = {
    kind: "data",
    id: "k",
    scope: "s",
    section: "clinical",
    generation: 2,
    key: systemRandom.bytes(32),
  };

  it("checks the independent HPKE against RFC 9180 A.1.1", () => {
    const enc = h("37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431");
    const pkR = h("3948cfe0ad1ddb695d780e59077195da6c56506b027329794ab02bca80815c4d");
    const skR = h("4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8");
    expect(hex(x25519.getPublicKey(skR))).toBe(hex(pkR));
    const dh = Uint8Array.from(x25519.getSharedSecret(skR, enc));
    const made = hpke(
      { id: 1, keyLength: 16 },
      dh,
      enc,
      pkR,
      h("4f6465206f6e2061204772656369616e2055726e"),
    );
    expect(hex(made.shared)).toBe(
      "fe0e18c9f024ce43799ae393c7e8fe8fce9d218875e8227b0187c04e7d2ea1fc",
    );
    expect(hex(made.key)).toBe("4531685d41d65f03dc48f6b8302c05b0");
    expect(hex(made.nonce)).toBe("56d890e5accaaf011cff4b7d");
  });

  it("opens the vectors of spec/vectors/grant.json", async () => {
    const vectors = [vector("data"), vector("pseudonym")];
    const path = new URL("../../../../spec/vectors/grant.json", import.meta.url);
    const text = `${JSON.stringify(vectors, null, 2)}\n`;
    if (process.env["HOLDFAST_WRITE_VECTORS"] === "1") writeFileSync(path, text);
    expect(readFileSync(path, "utf8")).toBe(text);
    for (const { grant, tenant, key, recipient_private: secret } of vectors) {
      const opened = await unwrapGrant(utf8(grant), tenant, pairOf(h(secret)));
      expect(hex(opened.key)).toBe(key);
    }
  });

  it("makes grants that noble opens", async () => {
    const text = fromUtf8(await wrapGrant(data, "t", own.publicKey, systemRandom));
    const { enc, ct, ...context } = JSON.parse(text) as {
      readonly enc: string;
      readonly ct: string;
    };
    const encBytes = fromBase64url(enc) as Bytes;
    const aad = canonicalBytes(context);
    const dh = Uint8Array.from(x25519.getSharedSecret(own.privateKey, encBytes));
    const made = hpke(
      aes256,
      dh,
      encBytes,
      own.publicKey,
      concat(utf8("holdfast/grant/v1\n"), aad),
    );
    expect(gcm(made.key, made.nonce, aad).decrypt(fromBase64url(ct) as Bytes)).toEqual(data.key);
  });

  it("goes round for both kinds, and says whose a grant is", async () => {
    const pseudonym: GrantedKey = { kind: "pseudonym", key: systemRandom.bytes(32) };
    for (const granted of [data, pseudonym]) {
      expect(
        await unwrapGrant(await wrapGrant(granted, "t", own.publicKey, systemRandom), "t", own),
      ).toEqual(granted);
    }
    const grant = await wrapGrant(data, "t", own.publicKey, systemRandom);
    await expect(unwrapGrant(grant, "u", own)).rejects.toMatchObject({ code: "grant_foreign" });
    const other = generateHpkeKeyPair(systemRandom);
    await expect(unwrapGrant(grant, "t", other)).rejects.toMatchObject({
      code: "grant_foreign",
    });
    await expect(wrapGrant(data, "t", new Uint8Array(32), systemRandom)).rejects.toMatchObject({
      code: "grant_malformed",
    });
  });

  it("gives no key for any flipped byte", async () => {
    const grant = await wrapGrant(data, "t", own.publicKey, systemRandom);
    for (let at = 0; at < grant.length; at++) {
      const bad = Uint8Array.from(grant);
      bad[at] = (bad[at] as number) ^ (1 << (at % 7));
      await expect(unwrapGrant(bad, "t", own)).rejects.toMatchObject({
        code: expect.stringMatching(/^grant_(malformed|foreign|open_failed)$/) as string,
      });
    }
  });

  it("derives the ephemeral key pair from the random port, as RFC 9180 §7.1.3 says", async () => {
    // A.1.1: ikmE and pkEm of DHKEM(X25519, HKDF-SHA256).
    const ikm = h("7268600d403fce431561aef583ee1613527cff655c1343f29812e66706df3234");
    const drawn: number[] = [];
    const random = {
      bytes(count: number) {
        drawn.push(count);
        return Uint8Array.from(ikm);
      },
    };
    const { enc } = JSON.parse(fromUtf8(await wrapGrant(data, "t", own.publicKey, random))) as {
      readonly enc: string;
    };
    expect(hex(fromBase64url(enc) as Bytes)).toBe(
      "37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431",
    );
    expect(drawn).toEqual([32]);
    const one = await wrapGrant(data, "t", own.publicKey, systemRandom);
    expect(await wrapGrant(data, "t", own.publicKey, systemRandom)).not.toEqual(one);
  });

  it("uses the same key pair form as the keyring", () => {
    expect(own.publicKey).toEqual(pairOf(own.privateKey).publicKey);
  });
});

import * as node from "node:crypto";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Bytes, base64, concat, hex, utf8 } from "../std/bytes.ts";
import { isHoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { SignatureAlgorithm } from "../std/ports.ts";
import {
  deviceLogOrigin,
  formatCheckpoint,
  parseCheckpoint,
  parseDeviceLogOrigin,
} from "./checkpoint.ts";
import {
  formatEnvelope,
  openEnvelope,
  parseEnvelope,
  preAuthenticationEncoding,
  signEnvelope,
} from "./dsse.ts";
import { derFromP1363, p1363FromDer } from "./ecdsa-der.ts";
import {
  createNoteVerifier,
  formatNote,
  formatVkey,
  type NoteSigner,
  openNote,
  parseNote,
  parseVkey,
  signNote,
} from "./note.ts";

const crypto = {
  sha256(...parts: readonly Uint8Array[]): Bytes {
    const hash = node.createHash("sha256");
    for (const part of parts) hash.update(part);
    return Uint8Array.from(hash.digest());
  },
};

function verify(
  algorithm: SignatureAlgorithm,
  spki: Uint8Array,
  message: Uint8Array,
  signature: Uint8Array,
): boolean {
  const key = { key: Buffer.from(spki), format: "der", type: "spki" } as const;
  return algorithm === "ed25519"
    ? node.verify(null, message, node.createPublicKey(key), signature)
    : node.verify("sha256", message, { ...key, dsaEncoding: "ieee-p1363" }, signature);
}

function createSigner(name: string, algorithm: SignatureAlgorithm): NoteSigner {
  const pair =
    algorithm === "ed25519"
      ? node.generateKeyPairSync("ed25519")
      : node.generateKeyPairSync("ec", { namedCurve: "P-256" });
  const spki = Uint8Array.from(pair.publicKey.export({ format: "der", type: "spki" }));
  return {
    ...createNoteVerifier(crypto, { name, algorithm, spki }),
    sign: (message) =>
      Uint8Array.from(
        algorithm === "ed25519"
          ? node.sign(null, message, pair.privateKey)
          : node.sign("sha256", message, { key: pair.privateKey, dsaEncoding: "ieee-p1363" }),
      ),
  };
}

function failure(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
    return `${error.code} ${String(error.details["reason"] ?? error.details["part"] ?? "")}`.trim();
  }
  return "none";
}

// C2SP signed-note, "Example"
const specVkey = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const specNote = `This is an example message.

— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=
`;
// Go package golang.org/x/mod/sumdb/note, documentation
const neumannVkey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const neumannNote = `If you think cryptography is the answer to your problem,
then you don't know what your problem is.

— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=
`;
// A checkpoint of the public Sigstore Rekor log: ECDSA P-256, type 0x02
const rekorVkey =
  "rekor.sigstore.dev+c0d23d6a+AjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABNhtmPtrWm3U1eQXBogSMdGvXwBcK5AW5i0hrZLOC96l+smGNM7nwZ4QvFK/4sueRoVj//QP22Ni4Qt9DPfkWLc=";
const rekorNote = `Rekor
798034
f+7CoKgXKE/tNys9TTXcr/ad6U/K3xvznmzew9y6SP0=

— rekor.sigstore.dev wNI9ajBEAiARInWIWyCdyG27CO6LPnPekyw20qO0YJfoaPaowGp/XgIgc+qEHS3+GKVClgqq20uDLet7MCoTURUCRdxwWBHHufk=
`;
const foreign: readonly (readonly [string, string, string])[] = [
  ["C2SP example", specVkey, specNote],
  ["Peter Neumann", neumannVkey, neumannNote],
  ["Rekor", rekorVkey, rekorNote],
];

describe("notes of others", () => {
  test.each(foreign)("%s opens, and no changed byte does", (_, vkey, note) => {
    const verifier = parseVkey(crypto, vkey);
    expect(formatVkey(verifier)).toBe(vkey);
    const opened = openNote(note, [verifier], verify);
    const text = note.slice(0, note.indexOf("\n\n") + 1);
    expect(opened).toEqual({ status: "verified", text, by: [verifier], unknown: [] });
    const parsed = parseNote(utf8(note));
    expect(formatNote(parsed.text, parsed.signatures)).toBe(note);
    const bytes = utf8(note);
    for (let at = 0; at < bytes.length; at++) {
      const changed = bytes.with(at, (bytes[at] as number) ^ 1);
      expect(openNote(changed, [verifier], verify).status, `byte ${at}`).not.toBe("verified");
    }
  });

  test("the body of Rekor's note is a checkpoint", () => {
    const { origin, size, root } = parseCheckpoint(parseNote(rekorNote).text);
    expect([origin, size, root.length]).toEqual(["Rekor", 798_034, 32]);
  });
});

describe("own notes", () => {
  const log = {
    tenant: "A".repeat(22),
    device: "b_-".repeat(7) + "c",
    incarnation: "0123456789abcdef",
  };
  const origin = deviceLogOrigin(log);
  const text = formatCheckpoint({ origin, size: 3, root: crypto.sha256() });
  const ed = createSigner(origin, "ed25519");
  const ec = createSigner(origin, "ecdsa-p256");

  test("both algorithms sign and open; unknown keys are ignored", () => {
    const note = signNote(text, [ed, ec]);
    expect(openNote(note, [ed, ec], verify)).toMatchObject({
      status: "verified",
      text,
      by: [ed, ec],
    });
    const one = openNote(note, [ec], verify);
    expect(one).toMatchObject({ status: "verified", by: [ec], unknown: [{ keyId: ed.keyId }] });
    expect(openNote(note, [], verify)).toEqual({ status: "unsigned" });
    const sameNameOnly = createSigner(origin, "ed25519");
    expect(openNote(note, [sameNameOnly], verify)).toEqual({ status: "unsigned" });
  });

  test("one bad signature of a known key refuses the note, also beside a good one of that key", () => {
    const good = parseNote(signNote(text, [ed, ec])).signatures;
    const [first, second] = good as [(typeof good)[0], (typeof good)[0]];
    const bad = {
      ...first,
      signature: first.signature.with(3, (first.signature[3] as number) ^ 1),
    };
    const refused = { status: "bad-signature", name: origin, keyId: ed.keyId };
    for (const lines of [
      [bad, second],
      [second, bad],
      [first, bad],
      [second, { ...first, signature: first.signature.slice(1) }],
    ])
      expect(openNote(formatNote(text, lines), [ed, ec], verify)).toEqual(refused);
    // A signature r ‖ s is not what a note holds.
    const raw = { ...second, signature: p1363FromDer(second.signature) as Bytes };
    expect(openNote(formatNote(text, [raw]), [ec], verify).status).toBe("bad-signature");
  });

  test("16 signatures and the limit are accepted, one more is not", () => {
    const [line] = parseNote(signNote(text, [ed])).signatures;
    if (line === undefined) throw new Error("signed");
    for (const count of [16, limits.noteSignaturesMax]) {
      const others = Array.from({ length: count - 1 }, (_, i) => ({ ...line, name: `w${i}` }));
      const note = formatNote(text, [...others, line]);
      expect(openNote(note, [ed], verify)).toMatchObject({ status: "verified", by: [ed] });
    }
    const many = Array.from({ length: limits.noteSignaturesMax + 1 }, () => line);
    expect(failure(() => formatNote(text, many))).toBe("note_malformed signature-count");
  });

  test("two keys under one name and id are refused, one key twice is not", () => {
    const note = signNote(text, [ed]);
    expect(openNote(note, [ed, { ...ed }], verify).status).toBe("verified");
    const other = { ...createSigner(origin, "ed25519"), keyId: ed.keyId };
    expect(failure(() => openNote(note, [ed, other], verify))).toBe("note_key_ambiguous");
  });

  test("origins", () => {
    expect(origin).toBe(`${log.tenant}/d/${log.device}/${log.incarnation}`);
    expect(parseDeviceLogOrigin(origin)).toEqual(log);
    for (const other of [
      "",
      "example.com/log",
      `${origin}/`,
      ` ${origin}`,
      `${origin}\n`,
      origin.replace("/d/", "/e/"),
      origin.toUpperCase(),
    ])
      expect(parseDeviceLogOrigin(other)).toBeUndefined();
    expect(failure(() => deviceLogOrigin({ ...log, device: "a b" }))).toBe(
      "checkpoint_malformed origin",
    );
  });
});

const line = specNote.slice(specNote.indexOf("—"));
const malformedNotes: readonly (readonly [string, string | Uint8Array, string])[] = [
  ["empty", "", "no-signatures"],
  ["no signatures", "text\n", "no-signatures"],
  ["nothing after the empty line", "text\n\n", "no-signatures"],
  ["no empty line", `text\n${line}`, "no-signatures"],
  ["no final newline", specNote.slice(0, -1), "end"],
  ["empty line at the end", `${specNote}\n`, "no-signatures"],
  ["carriage return", specNote.replaceAll("\n", "\r\n"), "control"],
  ["tab", specNote.replace("This", "\tThis"), "control"],
  ["NUL", specNote.replace("This", "\0This"), "control"],
  ["not UTF-8", concat(utf8(specNote), Uint8Array.of(0xff)), "utf8"],
  ["lone surrogate", `\ud800${specNote}`, "utf8"],
  ["too long", `${"a".repeat(limits.noteBytesMax)}${specNote}`, "size"],
  ["hyphen for dash", specNote.replace("—", "-"), "signature-line"],
  ["no space after the dash", specNote.replace("— ", "—"), "signature-line"],
  ["two spaces", specNote.replace("foo ", "foo  "), "signature-line"],
  ["space at the end", specNote.replace("=\n", "= \n"), "signature-line"],
  ["text after the signatures", `${specNote}more\n`, "signature-line"],
  ["no name", specNote.replace("example.com/foo", ""), "name"],
  ["plus in the name", specNote.replace("com/foo", "com+foo"), "name"],
  ["Unicode space in the name", specNote.replace("com/foo", "com\u00a0foo"), "name"],
  ["next line character in the name", specNote.replace("com/foo", "com\u0085foo"), "name"],
  ["no padding", specNote.replace("=\n", "\n"), "base64"],
  ["base64url", specNote.replace("tg1ERYNZ", "tg1-_YNZ"), "base64"],
  ["left-over bits", specNote.replace("aQM=", "aQN="), "base64"],
  ["key id alone", "text\n\n— a Uw2QOg==\n", "signature"],
];

test.each(malformedNotes)("malformed note: %s", (_, note, reason) => {
  expect(failure(() => parseNote(note))).toBe(`note_malformed ${reason}`);
  const opened = openNote(note, [parseVkey(crypto, specVkey)], verify);
  expect(opened).toEqual({ status: "malformed", reason });
});

test("a text may hold empty lines and what looks like a signature", () => {
  const signer = createSigner("a", "ed25519");
  const text = `\n\n${line}\n\n`;
  expect(openNote(signNote(text, [signer]), [signer], verify)).toMatchObject({
    status: "verified",
    text,
  });
  expect(failure(() => signNote("no newline", [signer]))).toBe("note_malformed text-end");
  expect(failure(() => formatNote("a\n", []))).toBe("note_malformed no-signatures");
});

test.each([
  ["", "parts"],
  [specVkey.replace("+530d903a", ""), "parts"],
  [specVkey.replace("530d903a", "530d903b"), "key-id"],
  [specVkey.replace("530d903a", "530D903A"), "key-id"],
  [specVkey.replace("example.com", "example.org"), "key-id"],
  [specVkey.replace("example.com/foo", "example com"), "name"],
  [specVkey.replace("example.com/foo", ""), "name"],
  [specVkey.replace("Aeky", "Ceky"), "type"],
  [specVkey.slice(0, -4), "key"],
  [`${specVkey}=`, "base64"],
  [rekorVkey.replace("AjBZ", "AjBY"), "key"],
])("malformed vkey %s", (text, reason) => {
  expect(failure(() => parseVkey(crypto, text))).toBe(`vkey_malformed ${reason}`);
});

const root64 = base64(new Uint8Array(32));
test.each([
  ["", "lines"],
  [`o\n1\n${root64}`, "lines"],
  [`o\n1\n${root64}\n\n`, "lines"],
  [`o\n1\n${root64}\nextension\n`, "lines"],
  [`\n1\n${root64}\n`, "origin"],
  [`a b\n1\n${root64}\n`, "origin"],
  [`a+b\n1\n${root64}\n`, "origin"],
  [`o\r\n1\n${root64}\n`, "origin"],
  [`o\n01\n${root64}\n`, "size"],
  [`o\n-1\n${root64}\n`, "size"],
  [`o\n+1\n${root64}\n`, "size"],
  [`o\n1e3\n${root64}\n`, "size"],
  [`o\n\n${root64}\n`, "size"],
  [`o\n9007199254740992\n${root64}\n`, "size"],
  [`o\n18446744073709551615\n${root64}\n`, "size"],
  [`o\n1\n\n`, "root"],
  [`o\n1\n${root64.slice(0, -1)}\n`, "root"],
  [`o\n1\n${base64(new Uint8Array(31))}\n`, "root"],
  [`o\n1\n${base64(new Uint8Array(33))}\n`, "root"],
])("malformed checkpoint %j", (text, part) => {
  expect(failure(() => parseCheckpoint(text))).toBe(`checkpoint_malformed ${part}`);
});

test("checkpoints round-trip up to 2^53-1", () => {
  for (const size of [0, 1, 10, Number.MAX_SAFE_INTEGER]) {
    const checkpoint = { origin: "o", size, root: crypto.sha256(utf8(String(size))) };
    expect(parseCheckpoint(formatCheckpoint(checkpoint))).toEqual(checkpoint);
  }
  const root = crypto.sha256();
  for (const size of [-1, 0.5, 2 ** 53, 1e21, Number.NaN])
    expect(failure(() => formatCheckpoint({ origin: "o", size, root }))).toBe(
      "checkpoint_malformed size",
    );
});

describe("ECDSA signatures in DER", () => {
  test("round-trip, and every other byte string of a changed byte is refused or another signature", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 64, maxLength: 64 }), fc.nat(5), (bytes, zeros) => {
        const signature = Uint8Array.from(bytes)
          .fill(0, 0, zeros)
          .fill(0, 32, 32 + zeros);
        const der = derFromP1363(signature);
        expect(p1363FromDer(der)).toEqual(signature);
        for (let at = 0; at < der.length; at++) {
          const read = p1363FromDer(der.with(at, (der[at] as number) ^ 0x81));
          if (read !== undefined) expect(read).not.toEqual(signature);
        }
        expect(p1363FromDer(concat(der, Uint8Array.of(0)))).toBeUndefined();
      }),
    );
  });

  test.each([
    ["empty", ""],
    ["long-form length", "308106020101020101"],
    ["leading zero", "300702020001020101"],
    ["negative", "30060201ff020101"],
    ["empty integer", "30050200020101"],
    ["indefinite length", "30800201010201010000"],
    ["not a sequence", "3106020101020101"],
    ["33 digits", `302602 2101${"00".repeat(32)}020101`.replace(" ", "")],
  ])("%s is refused", (_, text) => {
    expect(p1363FromDer(Uint8Array.from(Buffer.from(text, "hex")))).toBeUndefined();
  });

  test("smallest and largest are canonical", () => {
    expect(hex(derFromP1363(new Uint8Array(64)))).toBe("3006020100020100");
    const largest = derFromP1363(new Uint8Array(64).fill(0xff));
    expect(largest).toHaveLength(72);
    expect(p1363FromDer(largest)).toEqual(new Uint8Array(64).fill(0xff));
  });
});

describe("DSSE", () => {
  // DSSE protocol.md v1.0.2, "Test Vectors"
  const type = "http://example.com/HelloWorld";
  const sig =
    "A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA==";
  const text = `{"payload":"aGVsbG8gd29ybGQ=","payloadType":"${type}","signatures":[{"sig":"${sig}"}]}`;
  const coordinate = (decimal: string) =>
    Buffer.from(BigInt(decimal).toString(16).padStart(64, "0"), "hex").toString("base64url");
  const jwk = {
    kty: "EC",
    crv: "P-256",
    x: coordinate("46950820868899156662930047687818585632848591499744589407958293238635476079160"),
    y: coordinate("5640078356564379163099075877009565129882514886557779369047442380624545832820"),
  };
  const spki = Uint8Array.from(
    node.createPublicKey({ key: jwk, format: "jwk" }).export({ format: "der", type: "spki" }),
  );
  const verifier = { algorithm: "ecdsa-p256", spki } as const;

  test("the vector of the specification", () => {
    expect(preAuthenticationEncoding(type, utf8("hello world"))).toEqual(
      utf8("DSSEv1 29 http://example.com/HelloWorld 11 hello world"),
    );
    const opened = openEnvelope(text, type, [verifier], verify);
    expect(opened).toEqual({ status: "verified", payload: utf8("hello world"), by: [verifier] });
    expect(formatEnvelope(parseEnvelope(text))).toBe(text);
    expect(openEnvelope(text, "other", [verifier], verify)).toEqual({ status: "other-type" });
    for (let at = 0; at < text.length; at++) {
      const changed =
        text.slice(0, at) + String.fromCharCode(text.charCodeAt(at) ^ 1) + text.slice(at + 1);
      expect(openEnvelope(changed, type, [verifier], verify).status, `at ${at}`).not.toBe(
        "verified",
      );
    }
  });

  test("any one trusted key is enough; keyid decides nothing", () => {
    const a = createSigner("a", "ed25519");
    const b = createSigner("b", "ecdsa-p256");
    const envelope = signEnvelope("té", Uint8Array.of(0, 255), [{ ...a, keyid: "hint" }, b]);
    expect(openEnvelope(envelope, "té", [a, b], verify)).toMatchObject({
      status: "verified",
      by: [a, b],
    });
    expect(openEnvelope(envelope, "té", [b], verify)).toMatchObject({
      status: "verified",
      by: [b],
    });
    expect(openEnvelope(envelope, "té", [verifier], verify)).toEqual({ status: "unsigned" });
  });

  test.each([
    ["not JSON", "{", "json"],
    ["array", "[]", "shape"],
    ["no payload", text.replace('"payload"', '"load"'), "shape"],
    ["white space", text.replace(",", ", "), "form"],
    [
      "another order",
      text.replace(/"payload":("[^"]*"),("payloadType":"[^"]*")/, '$2,"payload":$1'),
      "form",
    ],
    ["repeated member", text.replace("{", '{"payload":"AA==",'), "form"],
    ["unknown member", text.replace("}]}", '}],"x":1}'), "form"],
    ["empty keyid", text.replace('{"sig"', '{"keyid":"","sig"'), "form"],
    ["no signatures", text.replace(/\[.*\]/, "[]"), "signature-count"],
    ["bad base64", text.replace("aGVs", "aG-s"), "base64"],
    ["no type", text.replace(type, ""), "payload-type"],
    ["too long", text.replace("aGVs", "aGVs".repeat(limits.dsseBytesMax / 4)), "size"],
  ])("malformed: %s", (_, bad, reason) => {
    expect(failure(() => parseEnvelope(bad))).toBe(`dsse_malformed ${reason}`);
  });
});

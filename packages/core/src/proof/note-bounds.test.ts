/** Where notes, checkpoints, verifier keys and envelopes begin to be refused: each bound from both sides. */
import { createNodeCrypto } from "@holdfast/node";
import { describe, expect, test } from "vitest";
import { base64, concat, utf8 } from "../std/bytes.ts";
import { InvariantError, isHoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import { formatCheckpoint, parseCheckpoint } from "./checkpoint.ts";
import { formatEnvelope, openEnvelope, parseEnvelope, signEnvelope } from "./dsse.ts";
import { derFromP1363, p1363FromDer } from "./ecdsa-der.ts";
import {
  createNoteVerifier,
  formatNote,
  formatVkey,
  isNoteName,
  noteKeyId,
  openNote,
  parseNote,
  parseVkey,
} from "./note.ts";

const crypto = createNodeCrypto();

function failure(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
    return `${error.code} ${String(error.details["reason"] ?? error.details["part"] ?? "")}`.trim();
  }
  return "none";
}

const good = { name: "a", keyId: "01020304", signature: Uint8Array.of(5) };

describe("names of keys", () => {
  test("have 1 to 512 bytes of UTF-8, without space, plus, control character or half a surrogate", () => {
    for (const name of ["a", "é", "😀", "a".repeat(512), "é".repeat(256)])
      expect([name, isNoteName(name)]).toEqual([name, true]);
    for (const name of [
      "",
      "a".repeat(513),
      "é".repeat(257),
      "a b",
      "a\u2003b",
      "a+b",
      "a\u0001b",
      "\u001f",
      "a\nb",
      "\ud800",
    ])
      expect([name, isNoteName(name)]).toEqual([name, false]);
    expect(isNoteName("a\u007fb!")).toBe(true);
  });
});

describe("making notes", () => {
  test.each<[string, string, readonly (typeof good)[], string]>([
    ["a name that is none", "t\n", [{ ...good, name: "a b" }], "name"],
    ["a key id that is not hex", "t\n", [{ ...good, keyId: "xyz" }], "key-id"],
    ["a key id of three bytes", "t\n", [{ ...good, keyId: "010203" }], "key-id"],
    ["a key id of five bytes", "t\n", [{ ...good, keyId: "0102030405" }], "key-id"],
    ["an empty signature", "t\n", [{ ...good, signature: new Uint8Array(0) }], "signature"],
    ["a control character", "t\u001f\n", [good], "control"],
    ["half a surrogate", "\ud800\n", [good], "utf8"],
    ["a text that is too long", `${"t".repeat(limits.noteBytesMax)}\n`, [good], "size"],
  ])("refuses %s", (_, text, signatures, reason) => {
    expect(failure(() => formatNote(text, signatures))).toBe(`note_malformed ${reason}`);
  });

  test("checks every signature, and writes what it reads", () => {
    const second = { ...good, name: "b", signature: Uint8Array.of(6, 7) };
    const note = formatNote("t t\n", [good, second]);
    expect(note).toBe("t t\n\n— a AQIDBAU=\n— b AQIDBAYH\n");
    expect(parseNote(note)).toEqual({ text: "t t\n", signatures: [good, second] });
    expect(failure(() => formatNote("t\n", [good, { ...good, keyId: "" }]))).toBe(
      "note_malformed key-id",
    );
  });
});

describe("sizes of notes", () => {
  const ending = "\n\n— a AQIDBAU=\n";
  const room = limits.noteBytesMax - utf8(ending).length;
  test("are counted in bytes of UTF-8, to the last", () => {
    expect(failure(() => parseNote(`${"t".repeat(room)}${ending}`))).toBe("none");
    expect(failure(() => parseNote(`${"t".repeat(room + 1)}${ending}`))).toBe(
      "note_malformed size",
    );
    const wide = "é".repeat(Math.floor(room / 2));
    expect(failure(() => parseNote(`${wide}${ending}`))).toBe("none");
    expect(failure(() => parseNote(`${wide}é${ending}`))).toBe("note_malformed size");
    const whole = utf8(`${"t".repeat(room)}${ending}`);
    expect(failure(() => parseNote(whole))).toBe("none");
    expect(failure(() => parseNote(concat(utf8("t"), whole)))).toBe("note_malformed size");
  });

  test("allow 64 signatures to be read, and no more", () => {
    const line = "— a AQIDBAU=\n";
    const { noteSignaturesMax } = limits;
    expect(parseNote(`t\n\n${line.repeat(noteSignaturesMax)}`).signatures).toHaveLength(64);
    expect(failure(() => parseNote(`t\n\n${line.repeat(noteSignaturesMax + 1)}`))).toBe(
      "note_malformed signature-count",
    );
  });

  test.each([
    ["five bytes: key id and one more", "t\n\n— a AQIDBAU=\n", "none"],
    ["four bytes", "t\n\n— a AQIDBA==\n", "note_malformed signature"],
    ["a dash alone", "t\n\n—\n", "note_malformed signature-line"],
    ["a dash and a name", "t\n\n— a\n", "note_malformed signature-line"],
    ["a fourth word", "t\n\n— a AQIDBAU= b\n", "note_malformed signature-line"],
    ["an empty text", "\n\n— a AQIDBAU=\n", "none"],
    ["no text at all", "— a AQIDBAU=\n", "note_malformed no-signatures"],
  ])("signature lines: %s", (_, note, verdict) => {
    expect(failure(() => parseNote(note))).toBe(verdict);
  });

  test("keep the cause of bytes that are no text", () => {
    try {
      parseNote(Uint8Array.of(0xff));
      expect.unreachable();
    } catch (error) {
      expect(error).toHaveProperty("cause");
      expect((error as Error).cause).toBeInstanceOf(Error);
    }
    try {
      parseNote("");
      expect.unreachable();
    } catch (error) {
      expect(Object.hasOwn(error as object, "cause")).toBe(false);
    }
  });
});

describe("opening notes", () => {
  const { privateKey, spki } = crypto.generateSigningKey("ed25519");
  const verifier = createNoteVerifier(crypto, { name: "a", algorithm: "ed25519", spki });
  const signature = crypto.signer("ed25519", privateKey)(utf8("t\n"));
  const note = formatNote("t\n", [{ name: "a", keyId: verifier.keyId, signature }]);

  test("asks for the signature over the text alone, and only in its length", () => {
    const asked: string[] = [];
    const verify = (
      algorithm: string,
      key: Uint8Array,
      message: Uint8Array,
      signed: Uint8Array,
    ) => {
      asked.push(`${algorithm} ${base64(key)} ${base64(message)} ${base64(signed)}`);
      return true;
    };
    expect(openNote(note, [verifier], verify).status).toBe("verified");
    expect(asked).toEqual([`ed25519 ${base64(spki)} ${base64(utf8("t\n"))} ${base64(signature)}`]);
    const long = { name: "a", keyId: verifier.keyId, signature: concat(signature, good.signature) };
    expect(openNote(formatNote("t\n", [long]), [verifier], verify)).toEqual({
      status: "bad-signature",
      name: "a",
      keyId: verifier.keyId,
    });
    expect(asked).toHaveLength(1);
  });

  test("names each known key once, and lets other failures through", () => {
    const line = { name: "a", keyId: verifier.keyId, signature };
    const twice = openNote(formatNote("t\n", [line, line]), [verifier], () => true);
    expect(twice).toMatchObject({ status: "verified", by: [verifier], unknown: [] });
    const broken = { ...verifier, name: "a b" };
    expect(() => openNote(note, [broken], () => true)).toThrow(InvariantError);
    expect(() => openNote(note, [broken], () => true)).toThrow("a verifier has the name of a key");
    const odd = { length: 1 } as unknown as Uint8Array;
    expect(openNote(odd, [], () => true)).toMatchObject({ status: "malformed", reason: "utf8" });
  });

  test("refuses two keys under one name and id by that id", () => {
    const other = { ...verifier, spki: crypto.generateSigningKey("ed25519").spki };
    try {
      openNote(note, [verifier, other], () => true);
      expect.unreachable();
    } catch (error) {
      expect(isHoldfastError(error, "note_key_ambiguous") && error.details).toEqual({
        key: verifier.keyId,
      });
    }
  });
});

describe("verifier keys", () => {
  const ed = crypto.generateSigningKey("ed25519").spki;
  const ec = crypto.generateSigningKey("ecdsa-p256").spki;

  test("of both algorithms go through their text", () => {
    for (const [algorithm, spki] of [
      ["ed25519", ed],
      ["ecdsa-p256", ec],
    ] as const) {
      const verifier = createNoteVerifier(crypto, { name: "a", algorithm, spki });
      expect(parseVkey(crypto, formatVkey(verifier))).toEqual(verifier);
      expect(verifier.keyId).toMatch(/^[0-9a-f]{8}$/);
      expect(noteKeyId(crypto, { name: "b", algorithm, spki }) === verifier.keyId).toBe(
        algorithm === "ecdsa-p256",
      );
    }
  });

  test("have the SPKI of their algorithm, byte by byte", () => {
    for (const [algorithm, spki, prefix] of [
      ["ed25519", ed, 12],
      ["ecdsa-p256", ec, 27],
    ] as const) {
      const id = (bytes: typeof spki) => () =>
        noteKeyId(crypto, { name: "a", algorithm, spki: bytes });
      for (let at = 0; at < prefix; at++) {
        const changed = spki.with(at, (spki[at] as number) ^ 1);
        expect([at, failure(id(changed))]).toEqual([at, "vkey_malformed key"]);
      }
      expect(failure(id(spki.slice(0, -1)))).toBe("vkey_malformed key");
      expect(failure(id(concat(spki, Uint8Array.of(0))))).toBe("vkey_malformed key");
      expect(failure(id(spki))).toBe("none");
    }
    expect(failure(() => noteKeyId(crypto, { name: "a", algorithm: "ed25519", spki: ec }))).toBe(
      "vkey_malformed key",
    );
  });

  test("have a name, also when they are made and written", () => {
    const key = { name: "a b", algorithm: "ed25519", spki: ed } as const;
    expect(failure(() => createNoteVerifier(crypto, key))).toBe("vkey_malformed name");
    expect(failure(() => formatVkey({ ...key, keyId: "01020304" }))).toBe("vkey_malformed name");
  });

  test("have their plus signs in place, and a known type", () => {
    // A key of fixed bytes: base64 has plus signs of its own.
    const spki = Uint8Array.from(ed).fill(2, 12);
    const text = formatVkey(createNoteVerifier(crypto, { name: "a", algorithm: "ed25519", spki }));
    expect(failure(() => parseVkey(crypto, text.replace("a+", "a-")))).toBe("vkey_malformed parts");
    expect(failure(() => parseVkey(crypto, `${text.slice(0, 10)}-${text.slice(11)}`))).toBe(
      "vkey_malformed parts",
    );
    expect(failure(() => parseVkey(crypto, text.slice(0, 11)))).toBe("vkey_malformed type");
    expect(failure(() => parseVkey(crypto, `${text.slice(0, 11)}AA==`))).toBe(
      "vkey_malformed type",
    );
    expect(failure(() => parseVkey(crypto, text.slice(1)))).toBe("vkey_malformed name");
  });
});

describe("checkpoints", () => {
  const root = new Uint8Array(32);
  test("are checked when they are made", () => {
    expect(failure(() => formatCheckpoint({ origin: "o", size: 1, root }))).toBe("none");
    expect(failure(() => formatCheckpoint({ origin: "o o", size: 1, root }))).toBe(
      "checkpoint_malformed origin",
    );
    expect(failure(() => formatCheckpoint({ origin: "o", size: 1, root: root.slice(1) }))).toBe(
      "checkpoint_malformed root",
    );
  });

  test("have four parts, the last empty, and a size of digits alone", () => {
    const hash = base64(root);
    for (const [text, part] of [
      [`o\n1\n${hash}\nx`, "lines"],
      [`o\n1\n${hash}\n`, undefined],
      [`o\n\n\n`, "size"],
      [`o\n0\n${hash}\n`, undefined],
      [`o\n00\n${hash}\n`, "size"],
      [`o\n 1\n${hash}\n`, "size"],
      [`o\n1 \n${hash}\n`, "size"],
      [`o\n1x\n${hash}\n`, "size"],
      [`o\nx1\n${hash}\n`, "size"],
      [`o\n9007199254740991\n${hash}\n`, undefined],
      [`o\n9007199254740993\n${hash}\n`, "size"],
      [`o\n1\n*\n`, "root"],
    ] as const)
      expect([text, failure(() => parseCheckpoint(text))]).toEqual([
        text,
        part === undefined ? "none" : `checkpoint_malformed ${part}`,
      ]);
  });
});

describe("ECDSA signatures in DER", () => {
  test("are made of 64 bytes", () => {
    for (const length of [63, 65])
      expect(() => derFromP1363(new Uint8Array(length))).toThrow(
        "an ECDSA P-256 signature is r and s of 32 bytes each",
      );
  });

  test("have a sign byte from 0x80 on, and only then", () => {
    const small = new Uint8Array(64).fill(0x7f, 31, 32).fill(0x80, 63);
    expect([...derFromP1363(small)]).toEqual([0x30, 7, 2, 1, 0x7f, 2, 2, 0, 0x80]);
    expect(p1363FromDer(derFromP1363(small))).toEqual(small);
  });

  test("of r of 33 digits, or with bytes that nothing counts, are refused and do not throw", () => {
    const long = concat(
      Uint8Array.of(0x30, 38, 2, 33, 1),
      new Uint8Array(32),
      Uint8Array.of(2, 1, 1),
    );
    expect(p1363FromDer(long)).toBeUndefined();
    const longS = concat(Uint8Array.of(0x30, 38, 2, 1, 1, 2, 33, 1), new Uint8Array(32));
    expect(p1363FromDer(longS)).toBeUndefined();
    expect(p1363FromDer(Uint8Array.of(0x30, 6, 2, 200, 1, 2, 1, 1))).toBeUndefined();
    expect(p1363FromDer(Uint8Array.of(0x30, 6, 2, 1, 1, 3, 1, 1))).toBeUndefined();
    expect(p1363FromDer(Uint8Array.of(0x30, 5, 2, 1, 1, 2, 1, 1))).toBeUndefined();
  });
});

describe("envelopes", () => {
  const sign = () => Uint8Array.of(1);
  const make = (count: number): string =>
    signEnvelope(
      "t",
      Uint8Array.of(7),
      Array.from({ length: count }, () => ({ sign })),
    );

  test("carry up to 64 signatures", () => {
    expect(parseEnvelope(make(64)).signatures).toHaveLength(64);
    expect(failure(() => make(65))).toBe("dsse_malformed signature-count");
    expect(failure(() => make(0))).toBe("dsse_malformed signature-count");
  });

  test("keep a hint, and leave an empty one out", () => {
    const hinted = signEnvelope("t", Uint8Array.of(7), [
      { keyid: "k", sign },
      { keyid: "", sign },
    ]);
    expect(hinted).toBe(
      '{"payload":"Bw==","payloadType":"t","signatures":[{"keyid":"k","sig":"AQ=="},{"sig":"AQ=="}]}',
    );
    expect(parseEnvelope(hinted).signatures).toEqual([
      { keyid: "k", sig: Uint8Array.of(1) },
      { sig: Uint8Array.of(1) },
    ]);
  });

  test.each([
    ["null", "null", "shape"],
    ["a number", "1", "shape"],
    ["half a surrogate", '"\ud800"', "json"],
    ["a type that is no text", '{"payload":"","payloadType":1,"signatures":[{}]}', "shape"],
    ["signatures that are no list", '{"payload":"","payloadType":"t","signatures":{}}', "shape"],
    [
      "half a surrogate as type",
      '{"payload":"","payloadType":"\\ud800","signatures":[1]}',
      "payload-type",
    ],
    ["a signature that is a text", '{"payload":"","payloadType":"t","signatures":["x"]}', "shape"],
    ["a signature that is null", '{"payload":"","payloadType":"t","signatures":[null]}', "shape"],
    ["a signature that is a list", '{"payload":"","payloadType":"t","signatures":[[]]}', "shape"],
    [
      "a hint that is no text",
      '{"payload":"","payloadType":"t","signatures":[{"keyid":1,"sig":""}]}',
      "shape",
    ],
    [
      "half a surrogate as hint",
      '{"payload":"","payloadType":"t","signatures":[{"keyid":"\\ud800","sig":""}]}',
      "shape",
    ],
    ["sig that is no text", '{"payload":"","payloadType":"t","signatures":[{"sig":1}]}', "shape"],
    [
      "sig that is no base64",
      '{"payload":"","payloadType":"t","signatures":[{"sig":"*"}]}',
      "base64",
    ],
  ])("are refused: %s", (_, text, reason) => {
    expect(failure(() => parseEnvelope(text))).toBe(`dsse_malformed ${reason}`);
    expect(openEnvelope(text, "t", [], () => true)).toEqual({ status: "malformed", reason });
  });

  test("have up to 1 MiB", () => {
    const bare = { payloadType: "t", signatures: [{ sig: Uint8Array.of(1) }] };
    const empty = formatEnvelope({ ...bare, payload: new Uint8Array(0) }).length;
    const fill = (payloadType: string) => () =>
      formatEnvelope({ ...bare, payloadType, payload: new Uint8Array(0) });
    const room = limits.dsseBytesMax - empty + 1;
    expect(failure(fill("t".repeat(room)))).toBe("none");
    expect(failure(fill("t".repeat(room + 1)))).toBe("dsse_malformed size");
  });
});

/** Commit notes over one small log, valid and invalid, in both signature algorithms. */
import { ed25519 } from "@noble/curves/ed25519.js";
import { sha512 } from "@noble/hashes/sha2.js";
import {
  base64,
  type Bytes,
  concat,
  createNoteVerifier,
  derFromP1363,
  deviceLogOrigin,
  formatNote,
  formatVkey,
  p1363FromDer,
  parseNote,
  type SignatureAlgorithm,
  utf8,
} from "@holdfast/core";
import { createLogWriter, tenant } from "./log.ts";
import { type Made, noteOf, otherStatement, withNote } from "./log-vectors.ts";
import { crypto, incarnationId, seededRandom, signingKey } from "./ports.ts";

const p256Order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

function number(bytes: Uint8Array): bigint {
  return bytes.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
}

function bigEndian(value: bigint): Bytes {
  return Uint8Array.from({ length: 32 }, (_, at) =>
    Number((value >> BigInt(8 * (31 - at))) & 255n),
  );
}

/** The other signature that verifies over the same message: (r, n − s). */
function highS(der: Bytes): Bytes {
  const raw = p1363FromDer(der) as Bytes;
  return derFromP1363(concat(raw.slice(0, 32), bigEndian(p256Order - number(raw.slice(32)))));
}

/** R is the identity and S = k·a: the equation holds, and the signer chose no nonce. */
function smallOrderR(seed: string, message: Uint8Array): Bytes {
  const secret = seededRandom(`signing/${seed}`).bytes(32);
  const { scalar } = ed25519.utils.getExtendedPublicKey(secret);
  const identity = concat(Uint8Array.of(1), new Uint8Array(31));
  const hash = sha512(concat(identity, ed25519.getPublicKey(secret), message));
  const order = ed25519.Point.Fn.ORDER;
  const s = ((number(Uint8Array.from(hash).reverse()) % order) * scalar) % order;
  return concat(identity, bigEndian(s).reverse());
}

export interface NoteVector {
  readonly name: string;
  readonly algorithm: SignatureAlgorithm;
  /** `ok`, or the code of the first problem that the verifier names. */
  readonly expect: string;
  readonly note: string;
}

function casesOf(algorithm: SignatureAlgorithm, made: Made, key: ReturnType<typeof signingKey>) {
  const right = otherStatement(made.rows, {});
  const note = noteOf(made, right, key);
  const [line] = parseNote(note).signatures;
  if (line === undefined) throw new Error("a note has a signature");
  const signedBy = (signature: Uint8Array, keyId = line.keyId): string =>
    formatNote(right, [{ name: line.name, keyId, signature: Uint8Array.from(signature) }]);
  const flipped = Uint8Array.from(line.signature);
  flipped[40] = (flipped[40] ?? 0) ^ 1;
  const wrong = (change: Parameters<typeof otherStatement>[1]): string =>
    noteOf(made, otherStatement(made.rows, change), key);
  const particular: readonly (readonly [string, string, string])[] =
    algorithm === "ed25519"
      ? [
          [
            "R of small order",
            "signature_wrong",
            signedBy(smallOrderR("notes/ed25519", utf8(right))),
          ],
        ]
      : [
          ["high S", "signature_wrong", signedBy(highS(line.signature))],
          [
            "r and s without DER",
            "signature_wrong",
            signedBy(p1363FromDer(line.signature) as Bytes),
          ],
        ];
  const common: readonly (readonly [string, string, string])[] = [
    ["as signed", "ok", note],
    ["another origin", "note_wrong", wrong({ incarnation: incarnationId("other") })],
    ["another size", "note_wrong", wrong({ size: 3 })],
    ["another root", "note_wrong", wrong({ root: crypto.sha256(utf8("x")) })],
    ["signature altered", "signature_wrong", signedBy(flipped)],
    ["another key id", "signature_wrong", signedBy(line.signature, "00000000")],
    [
      "signed by another key under its own id",
      "signature_wrong",
      noteOf(made, right, signingKey("other", algorithm)),
    ],
    ["no signature", "note_malformed", right],
    ["no newline at the end", "note_malformed", note.slice(0, -1)],
    ["a carriage return", "note_malformed", note.replace("\n", "\r\n")],
  ];
  return [...common, ...particular];
}

/** A log of two events, its key and the notes that may stand at its end. */
export function noteVectors() {
  return (["ed25519", "ecdsa-p256"] as const).map((algorithm) => {
    const writer = createLogWriter("notes");
    const sections = [["content", '{"data":{}}']] as const;
    const log = writer.open(algorithm, {
      algorithm,
      also: [{ stream: "diary", scope: "ada", sections }],
    });
    const made: Made = { writer, rows: writer.rows };
    const { device, incarnation } = log;
    const name = deviceLogOrigin({ tenant, device, incarnation });
    const { spki } = log.key;
    return {
      algorithm,
      spki: base64(spki),
      vkey: formatVkey(createNoteVerifier(crypto, { name, algorithm, spki })),
      headers: writer.rows.events.map(({ header }) => header),
      notes: casesOf(algorithm, made, log.key).map(([name, expect, note]): NoteVector => {
        return { name: `${algorithm}: ${name}`, algorithm, expect, note };
      }),
      made: (note: string) => withNote(made, note),
    };
  });
}

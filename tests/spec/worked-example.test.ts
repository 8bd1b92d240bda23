/** One group of two events, from nothing to its signature, with every value between. */
import {
  base64url,
  createKeyring,
  createSoftwareProvider,
  createTreeBuilder,
  createUuidV7,
  commitSection,
  type CommitNote,
  concat,
  type Crypto,
  deviceId,
  deviceLogOrigin,
  emptyRange,
  hex,
  type Keyring,
  type KeyringFiles,
  leafHash,
  noPrevious,
  noteKeyId,
  openFrame,
  parseNote,
  type Random,
  type RecordFile,
  base64,
  type SealableDraft,
  type SealedEvent,
  sealGroup,
  toSections,
  utf8,
  fromBase64url,
  fromUtf8,
} from "@holdfast/core";
import { nobleCrypto } from "@holdfast/core/noble";
import { describe, expect, it } from "vitest";
import { signedNote, verifyRows } from "./log.ts";
import { compareWithSpec } from "./vector-file.ts";

/** 00, 01, 02 … modulo 256: every random byte can be told by its place. */
function countingRandom(): Random {
  let next = 0;
  return { bytes: (length) => Uint8Array.from({ length }, () => next++ & 255) };
}

function memoryFile(): RecordFile {
  let content: Uint8Array<ArrayBuffer> | undefined;
  return {
    read: () => content,
    version: () => content && String(content.length),
    append: (bytes) => (content = concat(content ?? new Uint8Array(0), bytes)),
    replace: (bytes) => (content = Uint8Array.from(bytes)),
    sync: () => undefined,
  };
}

const clock = { now: () => Date.UTC(2026, 2, 1, 8) };

function createExampleKeyring(crypto: Crypto, random: Random): Keyring {
  const files: KeyringFiles = { store: memoryFile(), registered: memoryFile() };
  const cost = { memoryKib: 8, passes: 1, lanes: 1 };
  const passphrase = "example";
  const provider = createSoftwareProvider({
    crypto,
    random,
    passphrase,
    parameters: undefined,
    cost,
  });
  const tenant = base64url(random.bytes(16));
  return createKeyring({ crypto, random, files, provider, tenant }) as Keyring;
}

/** The two drafts, with their places in streams that begin with them. */
function exampleDrafts(
  keyring: Keyring,
  newId: () => string,
  { device, spki }: { readonly device: string; readonly spki: Uint8Array },
): readonly [opening: SealableDraft, nosebleed: SealableDraft] {
  const common = {
    op: "create",
    ref: undefined,
    at: clock.now(),
    role: undefined,
    session: undefined,
    why: undefined,
    typeVersion: 1,
    streamSequence: 1,
  } as const;
  const opening: SealableDraft = {
    ...common,
    id: newId(),
    type: "IncarnationOpened",
    scope: keyring.scopeOf(`device/${device}`, ""),
    stream: keyring.streamOf(`device/${device}`),
    vector: {},
    actor: keyring.actorOf(`device/${device}`),
    sections: [],
    pub: {
      alg: "ed25519",
      spki: base64(spki),
      hpke: base64(keyring.hpke().publicKey),
      reason: "first",
    },
  };
  const nosebleed: SealableDraft = {
    ...common,
    id: newId(),
    type: "NosebleedRecorded",
    scope: keyring.scopeOf("ada", "Ward 3"),
    stream: keyring.streamOf("diary/ada"),
    vector: {},
    actor: keyring.actorOf("nurse/7"),
    sections: toSections(
      { encoding: "json", sections: { notes: ["note"] } },
      {
        data: { minutes: 7, note: "left side" },
        text: undefined,
        occurredAt: Date.UTC(2026, 2, 1, 7, 30),
        reason: undefined,
      },
    ),
  };
  return [opening, nosebleed];
}

function sealExample() {
  const random = countingRandom();
  const crypto = nobleCrypto(random);
  const keyring = createExampleKeyring(crypto, random);
  const newId = createUuidV7(clock, random);
  const { privateKey, spki } = crypto.generateSigningKey("ed25519");
  const sign = crypto.signer("ed25519", privateKey);
  const device = deviceId(crypto, spki);
  const incarnation = hex(random.bytes(8));
  const origin = {
    tenant: keyring.tenant,
    device,
    incarnation,
    tier: "software",
    app: "example/1.0.0",
  } as const;
  const [opening, nosebleed] = exampleDrafts(keyring, newId, { device, spki });
  const sealed = sealGroup(
    { crypto, random, keyFor: (scope, section) => keyring.dataKeyToSeal(scope, section) },
    origin,
    { leaf: noPrevious, range: emptyRange },
    [opening, nosebleed],
  );
  const key = { algorithm: "ed25519", spki, device, sign } as const;
  const note: CommitNote = {
    device,
    incarnation,
    size: sealed.head.range.size,
    root: sealed.root,
    text: signedNote(origin, sealed.statement, key),
  };
  return { crypto, keyring, origin, privateKey, spki, sealed, nosebleed, note };
}

type Example = ReturnType<typeof sealExample>;

/** A block of one value. */
function block(title: string, text: string): string {
  return `${title}\n\n\`\`\`text\n${text.replace(/\n$/, "")}\n\`\`\`\n`;
}

function wrapped(bytes: Uint8Array): string {
  return hex(bytes).replaceAll(/(.{96})(?=.)/g, "$1\n");
}

function sectionText(example: Example, event: SealedEvent, at: number): string {
  const { crypto, keyring } = example;
  const frame = event.frames[at];
  const name = frame?.section ?? "";
  const leaf = fromBase64url(event.leaf);
  const key = keyring.dataKeyById(frame?.key ?? "");
  const material = keyring.dataKeyMaterial(key?.id ?? "", 1);
  const commitment = fromBase64url(event.header.sec[name]?.c ?? "");
  if (frame?.bytes === undefined || leaf === undefined || key === undefined)
    throw new Error("frame");
  if (material === undefined || commitment === undefined) throw new Error("key");
  const opened = openFrame(crypto, key, name, leaf, frame.bytes, commitment);
  if (opened === undefined) throw new Error("a frame opens under its key");
  expect(hex(commitSection(crypto, opened.salt, opened.plaintext))).toBe(hex(commitment));
  const info = concat(utf8(`holdfast/aead/v1|${name}`), leaf);
  return [
    `### Section \`${name}\`\n`,
    block("Plaintext (JCS):", fromUtf8(opened.plaintext)),
    block("Salt, 32 random bytes:", hex(opened.salt)),
    block(
      'Commitment, SHA-256("holdfast/section/v1\\n" ‖ salt ‖ plaintext); `c` is its base64url:',
      hex(commitment),
    ),
    block(`Data key ${key.id}, generation 1:`, hex(material.key)),
    block('HKDF info, "holdfast/aead/v1|" ‖ section ‖ leaf:', wrapped(info)),
    block("Frame key, HMAC-SHA-256(data key, info ‖ 0x01):", hex(key.frameKey(name, leaf))),
    block("AAD, leaf ‖ section:", wrapped(concat(leaf, utf8(name)))),
    block("Nonce, 12 random bytes:", hex(frame.bytes.subarray(5, 17))),
    block("Frame, 01 ‖ generation ‖ nonce ‖ ciphertext ‖ tag:", wrapped(frame.bytes)),
  ].join("\n");
}

function eventText(example: Example, event: SealedEvent, at: number): string {
  const bytes = utf8(event.headerText);
  const leaf = leafHash(example.crypto, bytes);
  expect(base64url(leaf)).toBe(event.leaf);
  return [
    `## Event ${at + 1}: ${event.header.type}\n`,
    block("Header text (JCS):", event.headerText),
    block(`Header bytes, ${bytes.length} of them:`, wrapped(bytes)),
    block(`Leaf, SHA-256(0x00 ‖ header bytes); base64url ${event.leaf}:`, hex(leaf)),
    ...event.frames.map((_, index) => sectionText(example, event, index)),
  ].join("\n");
}

function commitText({ crypto, origin, spki, privateKey, sealed, note }: Example): string {
  const tree = createTreeBuilder(crypto);
  for (const { leaf } of sealed.events) tree.append(fromBase64url(leaf) ?? new Uint8Array(0));
  const name = deviceLogOrigin(origin);
  const { text, signatures } = parseNote(note.text);
  const signature = signatures[0]?.signature ?? new Uint8Array(0);
  return [
    "## Commit\n",
    block("Root of the tree of both leaves, SHA-256(0x01 ‖ leaf 1 ‖ leaf 2):", hex(tree.root())),
    block("Signed text (origin, size, root in base64; each line ends in a newline):", text),
    block("Signing key, Ed25519 PKCS#8:", wrapped(privateKey)),
    block("SPKI:", hex(spki)),
    block(
      "SHA-256(SPKI), whose first 22 characters in base64url are `dev`:",
      `${hex(crypto.sha256(spki))}\n${base64url(crypto.sha256(spki))}`,
    ),
    block(
      "Key id, SHA-256(origin ‖ 0x0A ‖ 0x01 ‖ 32-byte key)[0:4]:",
      noteKeyId(crypto, { name, algorithm: "ed25519", spki }),
    ),
    block("Signature of the text:", wrapped(signature)),
    block("Commit note:", note.text),
  ].join("\n");
}

function render(example: Example): string {
  const { keyring, origin, nosebleed } = example;
  const names = [
    `tenant       ${origin.tenant}`,
    `device       ${origin.device}`,
    `incarnation  ${origin.incarnation}`,
    `scope        ${nosebleed.scope}   subject "ada", site "Ward 3", n 0`,
    `stream       ${nosebleed.stream}   resource "diary/ada"`,
    `actor        ${nosebleed.actor}   "nurse/7"`,
  ].join("\n");
  return `${[
    "# Worked example\n",
    "A device log begins: one group of two events, `IncarnationOpened` and one diary event with two sections, sealed and signed. Written by `tests/spec/worked-example.test.ts`, which makes it anew and compares. Random bytes count 00, 01, 02, … modulo 256 in the order in which the code draws them; the clock stands at 2026-03-01T08:00:00.000Z (1772352000000). The forms are those of [event.md](event.md); the keyring is made as in [keyring.md](keyring.md), passphrase `example`, cost 8 KiB, 1 pass, 1 lane. Byte strings are hex, broken at 48 bytes a line.\n",
    "## Names\n",
    block("Pseudonym key:", hex(keyring.pseudonymKey() ?? new Uint8Array(0))),
    block("Names in the headers:", names),
    ...example.sealed.events.map((event, at) => eventText(example, event, at)),
    commitText(example),
  ].join("\n")}`;
}

describe("the worked example", () => {
  const example = sealExample();

  it("is spec/worked-example.md", () => {
    compareWithSpec("worked-example.md", render(example));
  });

  it("is a log that verifies", () => {
    const { sealed, note, keyring, spki } = example;
    const { device, incarnation } = note;
    const rows = {
      events: sealed.events.map(({ leaf, header, headerText }, at) => ({
        position: at + 1,
        leaf,
        id: header.id,
        device,
        incarnation,
        own: 1,
        sequence: header.seq,
        type: header.type,
        stream: header.stream,
        actor: header.act,
        recordedAt: header.at,
        header: headerText,
      })),
      frames: sealed.events.flatMap(({ frames }, at) =>
        frames.map((frame) => ({ ...frame, position: at + 1, bytes: frame.bytes ?? null })),
      ),
      streams: sealed.events.map(({ header: { stream, scope } }) => {
        const head = JSON.stringify({ [`${device}/${incarnation}`]: 1 });
        return { stream, scope, vector: head, frontier: head };
      }),
      notes: [{ device, incarnation, size: note.size, root: note.root, note: note.text }],
    };
    const keys = { dataKey: keyring.dataKey.bind(keyring), ownKey: () => spki };
    const verdict = verifyRows(rows, keys, { allNotes: true, tenant: keyring.tenant });
    expect(verdict).toEqual({ events: 2, commits: 1, sections: 2, problems: [] });
  });
});

import { createNodeCrypto } from "@holdfast/node";
import {
  createChance,
  createLooseDataKey,
  createSealableDraft,
  createSealedDeviceLog,
  type EventWishes,
} from "@holdfast/testkit";
import { describe, expect, it } from "vitest";
import { createUuidV7 } from "../event/uuid.ts";
import { noPrevious } from "../event/event.ts";
import { emptyRange, leafHash, rootOf } from "../proof/tree.ts";
import { openNote, createNoteVerifier } from "../proof/note.ts";
import { parseCheckpoint } from "../proof/checkpoint.ts";
import { verifySignature } from "../proof/signature.ts";
import { base64, base64url, fromBase64url, utf8 } from "../std/bytes.ts";
import { canonicalJson } from "../std/jcs.ts";
import { limits } from "../std/limits.ts";
import { openFrame } from "./frame.ts";
import { readIncarnationPub } from "./incarnation.ts";
import { type Origin, sealGroup } from "./seal.ts";

const crypto = createNodeCrypto();
const chance = createChance(1);
const newId = createUuidV7({ now: () => 1_000 }, chance);
const key = createLooseDataKey({ crypto, chance }, "scope", "content");
const origin: Origin = {
  tenant: "t".repeat(22),
  device: "d".repeat(22),
  incarnation: "0".repeat(16),
  tier: "software",
  app: "test",
};
const start = { leaf: noPrevious, range: emptyRange };

const seal = (...wishes: readonly EventWishes[]) =>
  sealGroup(
    { crypto, random: chance, keyFor: () => key },
    origin,
    start,
    wishes.map((wish) => createSealableDraft(chance, newId, wish)),
  );

describe("sealing", () => {
  it("links each event to the leaf before it, from 1", () => {
    const { events, head } = seal({}, {}, {});
    expect(events.map(({ header }) => header.seq)).toEqual([1, 2, 3]);
    expect(events.map(({ header }) => header.prev)).toEqual([
      noPrevious,
      events[0]?.leaf,
      events[1]?.leaf,
    ]);
    expect(head.leaf).toBe(events[2]?.leaf);
    expect(head.range.size).toBe(3);
  });

  it("takes the leaf of the very header text, in canonical form", () => {
    for (const { header, headerText, leaf } of seal(
      {},
      { role: "nurse", why: "typo", ref: [noPrevious] },
    ).events) {
      expect(canonicalJson(JSON.parse(headerText))).toBe(headerText);
      expect(JSON.parse(headerText)).toEqual(header);
      expect(base64url(leafHash(crypto, utf8(headerText)))).toBe(leaf);
    }
  });

  it("leaves absent fields out, never null", () => {
    const [event] = seal({ vector: undefined }).events;
    expect(Object.keys(event?.header ?? {}).toSorted()).toEqual(
      "act app at dev id inc op prev scope sec seq sseq stream ten tier tv type v".split(" "),
    );
  });

  it("commits to each section and encrypts it under its key", () => {
    const plaintext = utf8("said");
    const [event] = seal({ sections: [{ name: "content", plaintext }] }).events;
    const frame = event?.frames[0];
    const opened = openFrame(
      crypto,
      key,
      "content",
      fromBase64url(event?.leaf ?? "") as Uint8Array,
      frame?.bytes as Uint8Array,
      fromBase64url(event?.header.sec["content"]?.c ?? "") as Uint8Array,
    );
    expect(opened?.plaintext).toEqual(plaintext);
    expect(frame).toMatchObject({ section: "content", key: key.id, state: "present" });
  });

  it("states size and root for the note to sign", () => {
    const { statement, root, head } = seal({}, {});
    const checkpoint = parseCheckpoint(statement);
    expect(checkpoint).toMatchObject({
      origin: `${origin.tenant}/d/${origin.device}/${origin.incarnation}`,
      size: 2,
    });
    expect(base64(checkpoint.root)).toBe(root);
    expect(base64(rootOf(crypto, head.range))).toBe(root);
  });

  it("makes notes that verify with the device's key", () => {
    const device = createSealedDeviceLog({ crypto, chance });
    const { note } = device.batch([{}, {}]);
    const name = parseCheckpoint(note.text.split("\n\n")[0] + "\n").origin;
    const verifier = createNoteVerifier(crypto, { name, algorithm: "ed25519", spki: device.spki });
    const opened = openNote(note.text, [verifier], (...signed) =>
      verifySignature(crypto, ...signed),
    );
    expect(opened.status).toBe("verified");
  });
});

describe("sizes", () => {
  const headerBytes = (why: string): number =>
    utf8(seal({ why }).events[0]?.headerText ?? "").length;

  it("takes a header of exactly its limit and refuses one byte more", () => {
    const room = limits.headerBytesMax - headerBytes("");
    const exact = seal({ why: "w".repeat(room) });
    expect(utf8(exact.events[0]?.headerText ?? "")).toHaveLength(limits.headerBytesMax);
    expect(() => seal({ why: "w".repeat(room + 1) })).toThrow(/^event_too_large.*part=header/);
  });

  it("takes an event of exactly its limit and refuses one byte more", () => {
    // Random but for its length: `at` and the section bytes do not change the header's size.
    const wish = (bytes: number): EventWishes => {
      return { at: 1_000, sections: [{ name: "content", plaintext: new Uint8Array(bytes) }] };
    };
    const room = limits.eventBytesMax - utf8(seal(wish(0)).events[0]?.headerText ?? "").length;
    expect(() => seal(wish(room))).not.toThrow();
    expect(() => seal(wish(room + 1))).toThrow(/^event_too_large.*part=event/);
  });
});

describe("plaintext of an opening", () => {
  const pub = { alg: "ed25519", spki: "AAAA", hpke: base64(new Uint8Array(32)), reason: "first" };
  it("is read by a closed schema", () => {
    expect(readIncarnationPub(pub)).toEqual(pub);
    const later = { ...pub, predecessor: "0", size: 3, root: "AA==", sig: "AA==" };
    expect(readIncarnationPub(later)).toEqual(later);
  });
  it.each([
    ["nothing", undefined],
    ["a text", "x"],
    ["null", null],
    ["another field", { ...pub, name: "Ada" }],
    ["another algorithm", { ...pub, alg: "rsa" }],
    ["a key that is no base64", { ...pub, spki: "*" }],
    ["a short HPKE key", { ...pub, hpke: "AAAA" }],
    ["no reason", { ...pub, reason: 1 }],
    ["a size that is no number", { ...pub, size: "3" }],
    ["a size that is no integer", { ...pub, size: 1.5 }],
    ["a root that is no text", { ...pub, root: 1 }],
  ])("refuses %s", (_, value) => {
    expect(readIncarnationPub(value)).toBeUndefined();
  });
});

/** Each field of a draft in its place of the header, and what sealing does with keys and buffers. */
import { createNodeCrypto } from "@holdfast/node";
import { createChance, createLooseDataKey, createSealableDraft } from "@holdfast/testkit";
import { describe, expect, it } from "vitest";
import { noPrevious } from "../event/event.ts";
import { createUuidV7 } from "../event/uuid.ts";
import { emptyRange } from "../proof/tree.ts";
import { incarnationOpenedType } from "../event/system.ts";
import { base64, base64url, concat, utf8 } from "../std/bytes.ts";
import { isHoldfastError } from "../std/errors.ts";
import { canonicalJson } from "../std/jcs.ts";
import { limits } from "../std/limits.ts";
import type { Aead, Crypto } from "../std/ports.ts";
import { commitSection, openFrame, sealFrame } from "./frame.ts";
import {
  deviceId,
  readIncarnationPub,
  successionPayloadType,
  successionStatement,
} from "./incarnation.ts";
import { type Origin, sealGroup } from "./seal.ts";

const crypto = createNodeCrypto();
const chance = createChance(3);
const newId = createUuidV7({ now: () => 1_000 }, chance);
const origin: Origin = {
  tenant: "t".repeat(22),
  device: "d".repeat(22),
  incarnation: "0".repeat(16),
  tier: "hardware",
  app: "test/1",
};
const start = { leaf: noPrevious, range: emptyRange };
const leaf = chance.bytes(32);

describe("a sealed header", () => {
  it("has every field of the draft under its name", () => {
    const draft = createSealableDraft(chance, newId, {
      typeVersion: 4,
      streamSequence: 5,
      vector: { "d/0": 5 },
      op: "amend",
      ref: [noPrevious],
      at: 6,
      role: "nurse",
      session: "session",
      why: "typo",
      pub: { n: 1 },
    });
    const asked: string[] = [];
    const key = createLooseDataKey({ crypto, chance }, "scope", "content");
    const keyFor = (scope: string, section: string) => {
      asked.push(`${scope} ${section}`);
      return key;
    };
    const { events } = sealGroup({ crypto, random: chance, keyFor }, origin, start, [draft]);
    const [event] = events;
    if (event === undefined) throw new Error("one event");
    const { sec, ...rest } = event.header;
    expect(asked).toEqual([`${draft.scope} content`]);
    expect(sec["content"]?.k).toBe(key.id);
    expect(rest).toEqual({
      v: 1,
      ten: origin.tenant,
      dev: origin.device,
      inc: origin.incarnation,
      seq: 1,
      prev: noPrevious,
      id: draft.id,
      type: "NoteTaken",
      tv: 4,
      scope: draft.scope,
      stream: draft.stream,
      sseq: 5,
      op: "amend",
      ref: [noPrevious],
      vv: { "d/0": 5 },
      at: 6,
      act: draft.actor,
      role: "nurse",
      sess: "session",
      why: "typo",
      pub: { n: 1 },
      tier: "hardware",
      app: "test/1",
    });
  });

  it("names the size, the limit and the part that are too large", () => {
    const keyFor = () => createLooseDataKey({ crypto, chance }, "scope", "content");
    const details = (wishes: Parameters<typeof createSealableDraft>[2]): unknown => {
      try {
        const draft = createSealableDraft(chance, newId, { at: 1_000, ...wishes });
        sealGroup({ crypto, random: chance, keyFor }, origin, start, [draft]);
      } catch (error) {
        return isHoldfastError(error, "event_too_large") ? error.details : error;
      }
      return undefined;
    };
    expect(details({ why: "w".repeat(limits.headerBytesMax) })).toMatchObject({
      part: "header",
      limit: limits.headerBytesMax,
      bytes: expect.any(Number) as number,
    });
    const half = new Uint8Array(limits.eventBytesMax / 2);
    // Sections count together.
    const sections = [
      { name: "content", plaintext: half },
      { name: "notes", plaintext: half },
    ];
    expect(details({ sections })).toMatchObject({ part: "event", limit: limits.eventBytesMax });
  });
});

describe("sealing a frame", () => {
  /** The platform's cipher, and every key and salted plaintext that it was given. */
  function watched(): { readonly crypto: Crypto; readonly keys: Uint8Array[] } {
    const keys: Uint8Array[] = [];
    const aead = (key: Uint8Array): Aead => {
      keys.push(key);
      return crypto.aead(key);
    };
    return { crypto: { ...crypto, aead }, keys };
  }

  it("wipes the frame's key, sealing and opening", () => {
    const { crypto: seen, keys } = watched();
    const key = createLooseDataKey({ crypto, chance }, "scope", "content");
    const salted = concat(new Uint8Array(32), utf8("said"));
    const commitment = commitSection(crypto, new Uint8Array(32), utf8("said"));
    const frame = sealFrame({ crypto: seen, random: chance }, key, "content", leaf, salted);
    expect(openFrame(seen, key, "content", leaf, frame, commitment)?.plaintext).toEqual(
      utf8("said"),
    );
    expect(keys).toEqual([new Uint8Array(32), new Uint8Array(32)]);
  });

  it("takes a nonce of its own each time, and commits under its domain", () => {
    const lengths: number[] = [];
    const random = { bytes: (length: number) => (lengths.push(length), chance.bytes(length)) };
    const key = createLooseDataKey({ crypto, chance }, "scope", "content");
    const frame = sealFrame({ crypto, random }, key, "content", leaf, new Uint8Array(40));
    expect(lengths).toEqual([12]);
    expect(frame[0]).toBe(1);
    expect(commitSection(crypto, leaf, utf8("x"))).toEqual(
      crypto.sha256(utf8("holdfast/section/v1\n"), leaf, utf8("x")),
    );
    expect(openFrame(crypto, key, "content", leaf, frame, new Uint8Array(31))).toBeUndefined();
  });

  it("wipes the salted plaintext that it made", () => {
    const given: Uint8Array[] = [];
    const aead = (key: Uint8Array): Aead => {
      const real = crypto.aead(key);
      const encrypt: Aead["encrypt"] = (nonce, plaintext, data) => {
        given.push(plaintext);
        return real.encrypt(nonce, plaintext, data);
      };
      return { ...real, encrypt };
    };
    const key = createLooseDataKey({ crypto, chance }, "scope", "content");
    const draft = createSealableDraft(chance, newId, {
      sections: [{ name: "content", plaintext: utf8("said") }],
    });
    const deps = { crypto: { ...crypto, aead }, random: chance, keyFor: () => key };
    sealGroup(deps, origin, start, [draft]);
    expect(given).toEqual([new Uint8Array(36)]);
    // The draft's own bytes stay the caller's.
    expect(draft.sections[0]?.plaintext).toEqual(utf8("said"));
  });
});

describe("openings", () => {
  const { spki } = crypto.generateSigningKey("ed25519");
  it("name the device by its first key", () => {
    const id = deviceId(crypto, spki);
    expect(id).toHaveLength(22);
    expect(base64url(crypto.sha256(spki)).startsWith(id)).toBe(true);
  });

  it("have their words", () => {
    expect(incarnationOpenedType).toBe("IncarnationOpened");
    expect(successionPayloadType).toBe("application/vnd.holdfast.succession+json");
  });

  it("hand over by a canonical statement", () => {
    const words = { tenant: "t", device: "d", incarnation: "i", predecessor: "p", size: 3 };
    expect(successionStatement({ ...words, spki, root: "r" })).toEqual(
      utf8(
        canonicalJson({
          ten: "t",
          dev: "d",
          inc: "i",
          predecessor: "p",
          size: 3,
          root: "r",
          spki: base64(spki),
        }),
      ),
    );
  });

  const pub = { alg: "ecdsa-p256", spki: "AAAA", hpke: base64(new Uint8Array(32)), reason: "x" };
  it.each<[string, unknown, boolean]>([
    ["P-256", pub, true],
    ["no algorithm", { ...pub, alg: undefined }, false],
    ["a key that is no text", { ...pub, spki: 1 }, false],
    ["an HPKE key that is no text", { ...pub, hpke: 1 }, false],
    ["an HPKE key that is no base64", { ...pub, hpke: "*".repeat(44) }, false],
    ["an HPKE key of 33 bytes", { ...pub, hpke: base64(new Uint8Array(33)) }, false],
    ["a predecessor that is no text", { ...pub, predecessor: 1 }, false],
    ["a signature that is no text", { ...pub, sig: 1 }, false],
    ["a size beyond 2^53-1", { ...pub, size: 2 ** 53 }, false],
    ["size 0", { ...pub, size: 0 }, true],
    ["a number", 1, false],
  ])("are read or refused: %s", (_, value, readable) => {
    expect(readIncarnationPub(value) !== undefined).toBe(readable);
  });
});

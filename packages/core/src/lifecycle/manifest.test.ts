import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { concat, fromUtf8, hex, utf8 } from "../std/bytes.ts";
import { nobleCrypto } from "../std/noble.ts";
import {
  type BackedUpFrame,
  createGatherer,
  frameParts,
  formatRow,
  linesOf,
  parseFrames,
  parseRows,
  tablesAfter,
  tablesBefore,
} from "./backup-rows.ts";
import {
  backupFormat,
  type BackupManifest,
  createRunningDigest,
  digestStatement,
  formatDigest,
  formatManifest,
  parseDigest,
  parseManifest,
} from "./manifest.ts";
import { tarHeader } from "./tar.ts";

it("an entry is gathered from any number of pieces", () => {
  const gathered = createGatherer(300_000);
  for (let at = 0; !gathered.isFull(); at++) gathered.add(Uint8Array.of(at % 256));
  expect(gathered.take()[257]).toBe(1);
  expect(gathered.isEmpty()).toBe(true);
});

const frameOf = (frame: BackedUpFrame) => concat(...frameParts(frame));
const crypto = nobleCrypto({ bytes: (length) => new Uint8Array(length) });
const manifest: BackupManifest = {
  format: 1,
  kind: "store",
  store: "EBESExQVFhcYGRobHB0eHw",
  tenant: "AAECAwQFBgcICQoLDA0ODw",
  createdAt: 1_796_073_580_256,
  storeFormat: 2,
  app: "holdfast/0.1.0",
  logs: [
    { device: "d", incarnation: "0011223344556677", own: true, size: 3, root: "cm9vdA==" },
    { device: "e", incarnation: "8899aabbccddeeff", own: false, size: 0, root: "" },
  ],
  rows: { events: 3, frames: 2 },
};

describe("a manifest", () => {
  it("is read as it was written", () => {
    expect(parseManifest(formatManifest(manifest))).toEqual(manifest);
  });

  it.each([
    ["another order", (text: string) => text.replace('{"app"', '{ "app"')],
    ["a field more", (text: string) => text.replace('{"app"', '{"aaa":1,"app"')],
    ["a field less", (text: string) => text.replace('"tenant":"AAECAwQFBgcICQoLDA0ODw"', '"t":""')],
    ["another kind", (text: string) => text.replace('"kind":"store"', '"kind":"other"')],
    ["a wrong log", (text: string) => text.replace('"own":true', '"own":1')],
    ["a wrong count", (text: string) => text.replace('"events":3', '"events":-3')],
    ["no JSON", (text: string) => text.slice(1)],
    ["format 0", (text: string) => text.replace('"format":1', '"format":0')],
  ])("with %s is refused", (_, change) => {
    const text = fromUtf8(formatManifest(manifest));
    expect(change(text)).not.toBe(text);
    expect(() => parseManifest(utf8(change(text)))).toThrow("backup_foreign");
  });

  it("of a newer format is refused as newer, whatever else it holds", () => {
    expect(() => parseManifest(utf8('{"format":2}'))).toThrow("backup_newer");
    expect(() => parseManifest(utf8('{"format":99,"all":"new"}'))).toThrow("backup_newer");
  });
});

describe("the digest", () => {
  it("is read as it was written", () => {
    const digest = { entries: 4, digest: "ZA==", signer: "0011223344556677", signature: "c2ln" };
    expect(parseDigest(formatDigest(digest))).toEqual(digest);
  });

  it.each(["{}", "[]", '{"entries":-1}', "x"])("is refused as %s", (text) => {
    expect(() => parseDigest(utf8(text))).toThrow("backup_altered");
  });

  it("is read in the form in which it is written, and in no other", () => {
    const digest = { entries: 2, digest: "AA==", signer: "signer", signature: "AAAA" };
    const text = fromUtf8(formatDigest(digest));
    expect(parseDigest(utf8(text))).toEqual(digest);
    const others = [`${text}\n`, text.replace(",", ", "), text.replace("{", '{"a":1,')];
    for (const other of others) {
      expect(() => parseDigest(utf8(other))).toThrow("backup_altered");
    }
  });

  it("depends on names, contents and their order", () => {
    const of = (...entries: readonly (readonly [string, string])[]): string => {
      const running = createRunningDigest(crypto);
      for (const [name, content] of entries) running.add(name, utf8(content));
      return running.value();
    };
    const all = [
      of(["a", "1"], ["b", "2"]),
      of(["b", "2"], ["a", "1"]),
      of(["a", "1"]),
      of(["a", ""], ["b", "12"]),
      of(["ab", "1"], ["", "2"]),
      of(["a", "1"], ["b", "2"], ["", ""]),
    ];
    expect(new Set(all).size).toBe(all.length);
  });
});

const value = fc.oneof(
  fc.string().filter((text) => text.isWellFormed() && !text.includes("\0")),
  fc.integer(),
  fc.constant(null),
  fc.uint8Array({ maxLength: 80 }).map((bytes) => Uint8Array.from(bytes)),
);

describe("rows and frames", () => {
  it("are read as they were written", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(value, value, value), { maxLength: 5 }), (rows) => {
        const content = utf8(rows.map((row) => fromUtf8(formatRow(row))).join(""));
        expect(parseRows("t/1", content, 3)).toEqual(rows);
      }),
    );
    const frame = fc.record({
      position: fc.integer({ min: 1 }),
      section: fc.stringMatching(/^[a-z]{1,9}$/),
      key: fc.stringMatching(/^[a-z]{1,9}$/),
      bytes: fc.option(fc.uint8Array({ maxLength: 90 })),
    });
    fc.assert(
      fc.property(fc.array(frame, { maxLength: 5 }), (drawn) => {
        const frames = drawn.map((one) => ({
          ...one,
          bytes: one.bytes === null ? null : Uint8Array.from(one.bytes),
          state: one.bytes === null ? "owed" : "present",
        }));
        const parts = frames.map((one) => [...frameOf(one)]);
        const read = parseFrames("frames/1", Uint8Array.from(parts.flat()));
        const plain = read.map((one) => ({
          ...one,
          bytes: one.bytes === null ? null : Uint8Array.from(one.bytes),
        }));
        expect(plain).toEqual(frames);
      }),
    );
  });

  it.each([
    ["no end of line", '["a",1,null]'],
    ["a column less", '["a",1]\n'],
    ["no array", '{"a":1}\n'],
    ["other bytes", '["a",1,{"b64":"%"}]\n'],
    ["a truth", '["a",1,true]\n'],
    ["no JSON", "[\n"],
  ])("with %s are refused", (_, text) => {
    expect(() => parseRows("t/1", utf8(text), 3)).toThrow("backup_altered");
  });

  it("of frames that end too soon are refused, and anything else never throws otherwise", () => {
    const whole = frameOf({
      position: 1,
      section: "clinical",
      key: "k",
      state: "present",
      bytes: Uint8Array.of(1, 2, 3),
    });
    for (let length = 1; length < whole.length; length++) {
      expect(() => parseFrames("frames/1", whole.subarray(0, length))).toThrow("backup_altered");
    }
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        for (const read of [parseFrames, linesOf]) {
          try {
            read("e/1", bytes);
          } catch (error) {
            expect((error as { code?: string }).code).toBe("backup_altered");
          }
        }
      }),
    );
  });
});

it("keeps its bytes while it keeps its version", () => {
  const pinned = {
    tables: [...tablesBefore, ...tablesAfter],
    manifest: fromUtf8(formatManifest(manifest)),
    row: fromUtf8(formatRow(["a", 1, null, Uint8Array.of(1, 2)])),
    frame: hex(
      frameOf({
        position: 7,
        section: "s",
        key: "k",
        state: "present",
        bytes: Uint8Array.of(9),
      }),
    ),
    tar: hex(tarHeader("events/00000001", 1_000, 1_796_073_580)),
    statement: hex(digestStatement({ entries: 4, digest: "ZA==", signer: "0011223344556677" })),
  };
  const digest = hex(crypto.sha256(utf8(JSON.stringify(pinned)))).slice(0, 16);
  // Whoever changes bytes raises the version, writes a decision page and then the digest.
  expect(`${backupFormat} ${digest}`).toBe("1 c7acab3505ff9ead");
});

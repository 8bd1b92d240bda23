import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { concat, utf8 } from "../std/bytes.ts";
import {
  createTarReader,
  parseTarHeader,
  tarBlockBytes,
  tarEnd,
  type TarEntry,
  tarHeader,
  tarPadding,
} from "./tar.ts";

function archiveOf(entries: readonly TarEntry[]): Uint8Array {
  const parts = entries.flatMap(({ name, content }) => [
    tarHeader(name, content.length, 1_796_073_580),
    content,
    tarPadding(content.length),
  ]);
  return concat(...parts, tarEnd());
}

function readIn(archive: Uint8Array, sizes: readonly number[]): readonly TarEntry[] {
  const reader = createTarReader();
  const entries: TarEntry[] = [];
  for (let at = 0, turn = 0; at < archive.length; turn++) {
    const size = sizes[turn % sizes.length] ?? 1;
    entries.push(...reader.push(archive.subarray(at, at + size)));
    at += size;
  }
  reader.finish();
  return entries;
}

const entriesOf = fc.array(
  fc.record({
    name: fc.stringMatching(/^[a-z0-9._/-]{1,99}$/),
    content: fc.uint8Array({ maxLength: 1_500 }),
  }),
  { maxLength: 6 },
);

describe("the archive of a backup", () => {
  it("is read as it was written, in pieces of any size", () => {
    fc.assert(
      fc.property(
        entriesOf,
        fc.array(fc.integer({ min: 1, max: 2_000 }), { minLength: 1, maxLength: 5 }),
        (entries, sizes) => {
          const read = readIn(archiveOf(entries), sizes);
          expect(read.map(({ name }) => name)).toEqual(entries.map(({ name }) => name));
          for (const [at, { content }] of read.entries()) {
            expect(Uint8Array.from(content)).toEqual(entries[at]?.content);
          }
        },
      ),
    );
  });

  it("is refused when any byte outside a content is another", () => {
    const archive = archiveOf([{ name: "a/00000001", content: utf8("hello") }]);
    const content = { from: tarBlockBytes, to: tarBlockBytes + 5 };
    for (let at = 0; at < archive.length; at++) {
      if (at >= content.from && at < content.to) continue;
      const altered = Uint8Array.from(archive);
      altered[at] = (altered[at] as number) ^ 1;
      expect(() => readIn(altered, [4_096]), `byte ${at}`).toThrow("backup_altered");
    }
  });

  it("is refused when it ends too soon, or goes on", () => {
    const archive = archiveOf([{ name: "a", content: utf8("hello") }]);
    for (const length of [0, 100, 512, 600, 1_024, 1_536]) {
      expect(() => readIn(archive.subarray(0, length), [512]), `${length}`).toThrow(
        "backup_altered",
      );
    }
    expect(() => readIn(concat(archive, new Uint8Array(512)), [512])).toThrow("backup_altered");
    expect(() => readIn(concat(archive, utf8("x")), [512])).toThrow("backup_altered");
  });

  it.each(["../x", "/etc/passwd", "a/../../b"])(
    "has no path to follow: %s is only a name",
    (name) => {
      const read = readIn(archiveOf([{ name, content: utf8("x") }]), [512]);
      expect(read[0]?.name).toBe(name);
    },
  );

  it("takes no header but its own", () => {
    const header = tarHeader("a", 5, 0);
    const link = Uint8Array.from(header);
    link[156] = 0x32;
    expect(parseTarHeader(header)).toEqual({ name: "a", size: 5, seconds: 0 });
    expect(parseTarHeader(link)).toBeUndefined();
    expect(parseTarHeader(new Uint8Array(512))).toBe("end");
  });
});

/** The archive against stock tar, both ways. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createTarReader, tarEnd, tarHeader, tarPadding } from "@holdfast/core";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { stockToolsMissing } from "./lab.ts";

let folder = "";
const missing = stockToolsMissing();

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-tar-"));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const entries = fc.uniqueArray(
  fc.record({
    name: fc.stringMatching(/^[a-z0-9]{1,12}(\/[a-z0-9._-]{1,30}[a-z0-9])?$/),
    content: fc.uint8Array({ maxLength: 3_000 }),
  }),
  { maxLength: 4, selector: ({ name }) => name.split("/")[0] },
);

describe("stock tar", () => {
  test("lists and extracts what we write", (context) => {
    if (missing !== undefined) context.skip(missing);
    fc.assert(
      fc.property(entries, (files) => {
        const archive = Buffer.concat([
          ...files.flatMap(({ name, content }) => [
            tarHeader(name, content.length, 1_796_073_580),
            content,
            tarPadding(content.length),
          ]),
          tarEnd(),
        ]);
        const input = { input: archive } as const;
        const names = execFileSync("tar", ["-t"], input).toString().split("\n").slice(0, -1);
        expect(names).toEqual(files.map(({ name }) => name));
        for (const { name, content } of files) {
          const extracted = execFileSync("tar", ["-xO", name], input);
          expect(extracted.equals(Buffer.from(content))).toBe(true);
        }
      }),
      { numRuns: 15 },
    );
  });

  test("told to leave out what we leave out, writes the same bytes", (context) => {
    if (missing !== undefined) context.skip(missing);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 3_000 }), (content) => {
        writeFileSync(join(folder, "a"), content);
        const ours = Buffer.concat([
          tarHeader("a", content.length, 1_796_073_580),
          content,
          tarPadding(content.length),
          tarEnd(),
        ]);
        const theirs = pack("a", ...plain);
        // It fills its last record with zero bytes.
        expect(theirs.subarray(0, ours.length).equals(ours)).toBe(true);
        expect(createTarReader().push(ours)[0]?.content.length).toBe(content.length);
      }),
      { numRuns: 15 },
    );
  });

  test("writes links, names of owners and forms of its own, which are refused", (context) => {
    if (missing !== undefined) context.skip(missing);
    writeFileSync(join(folder, "a"), "hello");
    symlinkSync("/etc/passwd", join(folder, "link"));
    const [numeric = "", ...named] = plain;
    const archives = [
      pack("link", ...plain),
      pack("a", ...named),
      pack("a", numeric, "--format=gnu"),
    ];
    for (const archive of archives) {
      expect(() => createTarReader().push(archive)).toThrow("backup_altered");
    }
  });
});

const plain = [
  "--numeric-owner",
  "--format=ustar",
  "--owner=:0",
  "--group=:0",
  "--mode=0600",
  "--mtime=@1796073580",
];

function pack(name: string, ...more: readonly string[]): Buffer {
  return execFileSync("tar", ["-c", "-b", "2", ...more, "-C", folder, name]);
}

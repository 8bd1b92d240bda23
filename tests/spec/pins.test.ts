/**
 * Digests of the formats beside their versions. A change of bytes fails here until the version beside it is
 * raised and a decision page says why; then the digest follows.
 */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import {
  applicationId,
  frameVersion,
  headerVersion,
  hex,
  markSlotBytes,
  schema,
  storeFormat,
  utf8,
} from "@holdfast/core";
import { frameVectors } from "./log-vectors.ts";
import { noteVectors } from "./note-vectors.ts";
import { headerVectors } from "./header-vectors.ts";
import { crypto } from "./ports.ts";

function digest(value: unknown): string {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return hex(crypto.sha256(utf8(text))).slice(0, 16);
}

/** Names and places of tables, without what the database ignores. */
const tables = schema.replaceAll(/\s+/g, " ").trim();
const valid = headerVectors().filter(({ expect: verdict }) => "leaf" in verdict);
const example = readFileSync(new URL("../../spec/worked-example.md", import.meta.url), "utf8");

describe("formats keep their bytes while they keep their version", () => {
  it.each([
    ["header", headerVersion, valid, "1 2d928c1f374212f8"],
    ["frame", frameVersion, frameVectors().vectors.frames[0], "1 2043650ca8318ee9"],
    [
      "commit note",
      1,
      noteVectors().map(({ vkey, notes }) => [vkey, notes[0]]),
      "1 7dbc3aca54fa9389",
    ],
    ["store", storeFormat, `${applicationId} ${tables}`, "3 f6bec30646e7da05"],
    ["worked example", headerVersion, example, "1 bd67e7d8d8a2dcdf"],
  ])("%s", (_name, version, value, pin) => {
    expect(`${version} ${digest(value)}`).toBe(pin);
  });

  it("high-water mark", () => {
    expect(markSlotBytes).toBe(2048);
  });
});

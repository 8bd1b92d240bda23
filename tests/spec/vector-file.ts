/** Vector files: compared with what the code makes now; `HOLDFAST_WRITE_VECTORS=1` writes them anew. */
import { readFileSync, writeFileSync } from "node:fs";
import { expect } from "vitest";

/** Compares a file of `spec` with its text. */
export function compareWithSpec(name: string, text: string): void {
  const path = new URL(`../../spec/${name}`, import.meta.url);
  if (process.env["HOLDFAST_WRITE_VECTORS"] === "1") writeFileSync(path, text);
  expect(readFileSync(path, "utf8")).toBe(text);
}

export function compareVectors(name: string, vectors: unknown): void {
  compareWithSpec(`vectors/${name}.json`, `${JSON.stringify(vectors, null, 1)}\n`);
}

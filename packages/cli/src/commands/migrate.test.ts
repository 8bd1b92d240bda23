import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { storeFormat } from "@holdfast/core";
import { createProgram } from "../program.ts";
import { UsageError } from "../store.ts";

const folder = mkdtempSync(join(tmpdir(), "holdfast-migrate-cli-"));
const fixture = new URL("../../../../tests/fixtures/store-format-1/", import.meta.url).pathname;

beforeAll(() => {
  cpSync(fixture, folder, { recursive: true });
  vi.stubEnv("HOLDFAST_STATE", join(folder, "state"));
  vi.stubEnv("HOLDFAST_PASSPHRASE", "fixture of format 1");
});
afterAll(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true });
});

/** What the command prints with --json. */
async function run(...words: readonly string[]): Promise<unknown> {
  const lines: string[] = [];
  const write = vi.spyOn(process.stdout, "write").mockImplementation((text, ...rest) => {
    lines.push(String(text));
    const done = rest.find((one) => typeof one === "function");
    done?.();
    return true;
  });
  try {
    const program = createProgram();
    const line = ["--store", join(folder, "store"), "--json", "migrate", ...words];
    await program.parseAsync(line, { from: "user" });
  } finally {
    write.mockRestore();
  }
  return JSON.parse(lines.join(""));
}

describe("holdfast migrate", () => {
  it("plans, tries, applies, tells and takes back", async () => {
    const id = `store-format-1-to-${storeFormat}`;
    expect(await run("plan")).toMatchObject({ format: 1, due: { id }, last: null });
    expect(await run("dry-run")).toMatchObject({ passed: true, errors: 0 });
    expect(await run("apply")).toMatchObject({ id, phase: "committed", errors: 0 });
    expect(await run("apply")).toEqual({ due: null });
    expect(await run("status")).toMatchObject({ format: storeFormat, due: null, last: { id } });
    await expect(run("rollback")).rejects.toBeInstanceOf(UsageError);
    expect(await run("rollback", "--yes")).toMatchObject({ id, phase: "rolled-back" });
    expect(await run("plan")).toMatchObject({ format: 1, due: { id } });
  });
});

import { describe, expect, it } from "vitest";
import { createProgram } from "../program.ts";
import { UsageError } from "../store.ts";
import { readIdentities } from "./backup-keys.ts";

async function refusal(...words: readonly string[]): Promise<unknown> {
  try {
    await createProgram().parseAsync(["--store", "/nowhere/at/all", ...words], { from: "user" });
    return "nothing was thrown";
  } catch (error) {
    return error;
  }
}

describe("wrong command lines of backup and restore", () => {
  it.each([
    [["backup"], "Say where to"],
    [["backup", "--out", "a", "--folder", "b"], "exclude each other"],
    [["backup", "--out", "a", "--keep", "3"], "--keep goes with --folder"],
    [["backup", "--out", "a", "--keep-for", "3d"], "--keep-for goes with --folder"],
    [["restore", "a", "--drill", "--replace"], "exclude each other"],
    [["restore", "a", "--rescue", "b"], "--rescue goes with --replace"],
    [["restore", "a", "--replace", "--keyring", "k"], "own keyring stays"],
    [["restore", "a"], "Say what opens it"],
  ])("%j", async (words, says) => {
    const error = await refusal(...words);
    expect(error).toBeInstanceOf(UsageError);
    expect(String(error)).toContain(says);
  });

  it("name a file that cannot be read", async () => {
    await expect(readIdentities({ identity: ["/nowhere/at/all"] })).rejects.toThrow(
      "input_unreadable",
    );
  });
});

/**
 * Where the passphrase comes from: `--passphrase-file`, else `HOLDFAST_PASSPHRASE`, else a prompt on a
 * terminal. Never a flag's value: command lines are seen by every user of the machine and kept in histories.
 */
import { readFile } from "node:fs/promises";
import { isCancel, password } from "@clack/prompts";
import { HoldfastError } from "@holdfast/core";

export interface PassphraseSource {
  readonly passphraseFile?: string | undefined;
}

/** The passphrase. Throws `passphrase_missing`, `passphrase_mismatch`, `input_unreadable`. */
export async function readPassphrase(
  source: PassphraseSource,
  confirm: "ask once" | "ask twice" = "ask once",
): Promise<string> {
  const given = await givenPassphrase(source);
  if (given !== undefined) return given;
  if (!process.stdin.isTTY) throw new HoldfastError("passphrase_missing");
  const first = await ask("Passphrase of the store");
  if (confirm === "ask twice" && (await ask("The same passphrase again")) !== first) {
    throw new HoldfastError("passphrase_mismatch");
  }
  return first;
}

/**
 * A new passphrase: from a file, else from `HOLDFAST_NEW_PASSPHRASE`, else typed twice. Throws as
 * {@link readPassphrase}.
 */
export async function readNewPassphrase(file: string | undefined): Promise<string> {
  const given =
    file === undefined
      ? process.env["HOLDFAST_NEW_PASSPHRASE"]
      : await passphraseIn(file, "--new-passphrase-file");
  if (given !== undefined) {
    if (given === "") throw new HoldfastError("passphrase_missing");
    return given;
  }
  if (!process.stdin.isTTY) throw new HoldfastError("passphrase_missing");
  const first = await ask("New passphrase of the store");
  if ((await ask("The same passphrase again")) !== first) {
    throw new HoldfastError("passphrase_mismatch");
  }
  return first;
}

/** The passphrase that a file or the environment gives; nobody is asked. */
export async function givenPassphrase({
  passphraseFile,
}: PassphraseSource): Promise<string | undefined> {
  const given = await textOf(passphraseFile);
  if (given === "") throw new HoldfastError("passphrase_missing");
  return given;
}

async function textOf(passphraseFile: string | undefined): Promise<string | undefined> {
  if (passphraseFile === undefined) return process.env["HOLDFAST_PASSPHRASE"];
  return passphraseIn(passphraseFile, "--passphrase-file");
}

async function passphraseIn(file: string, argument: string): Promise<string> {
  try {
    // Editors end a file with a line break; it is no part of the passphrase.
    return (await readFile(file, "utf8")).replace(/\r?\n$/, "");
  } catch (cause) {
    throw new HoldfastError("input_unreadable", { argument }, { cause });
  }
}

async function ask(message: string): Promise<string> {
  const answer = await password({ message, output: process.stderr });
  if (isCancel(answer) || answer === "" || answer === undefined)
    throw new HoldfastError("passphrase_missing");
  return answer;
}

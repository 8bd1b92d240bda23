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
  return (confirm === "ask twice" ? askTwice : ask)("Passphrase of the store");
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
  return askTwice("New passphrase of the store");
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

/** The passphrase in a file that an argument names. Throws `input_unreadable`. */
export async function passphraseIn(file: string, argument: string): Promise<string> {
  // Editors end a file with a line break; it is no part of the passphrase.
  return (await textIn(file, argument)).replace(/\r?\n$/, "");
}

/** The text of a file that an argument names. Throws `input_unreadable`. */
export async function textIn(file: string, argument: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (cause) {
    throw new HoldfastError("input_unreadable", { argument }, { cause });
  }
}

async function askTwice(message: string): Promise<string> {
  const first = await ask(message);
  if ((await ask("The same passphrase again")) === first) return first;
  throw new HoldfastError("passphrase_mismatch");
}

async function ask(message: string): Promise<string> {
  const answer = await password({ message, output: process.stderr });
  if (isCancel(answer) || answer === "" || answer === undefined)
    throw new HoldfastError("passphrase_missing");
  return answer;
}

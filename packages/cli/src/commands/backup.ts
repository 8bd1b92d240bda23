import { statSync } from "node:fs";
import { type BackupPolicy, HoldfastError } from "@holdfast/core";
import {
  type AgeRecipients,
  backUp,
  backUpKeyring,
  backUpWhenDue,
  keepMemorySmall,
  type KeyringCopies,
  rescue,
} from "@holdfast/node";
import { Command } from "commander";
import { type Output, printable } from "../output.ts";
import { recordAct, storeAccess, storeDirectory, type StoreOptions, UsageError } from "../store.ts";
import { readBackupPassphrase } from "./backup-keys.ts";
import { collect, contextOf, count, span } from "./options.ts";

interface RecipientOptions extends StoreOptions {
  readonly recipient?: readonly string[];
  readonly backupPassphraseFile?: string;
}

interface BackupOptions extends RecipientOptions {
  readonly out?: string;
  readonly folder?: string;
  readonly every?: number;
  readonly keep?: number;
  readonly keepFor?: number;
  readonly second?: string;
  readonly keyring?: string;
}

function withRecipients(command: Command): Command {
  return command
    .option("--recipient <age1…>", "who may open it; may be given several times", collect)
    .option(
      "--backup-passphrase-file <file>",
      "file that holds a passphrase for it instead; or HOLDFAST_BACKUP_PASSPHRASE",
    );
}

/** `holdfast backup`: a store as an encrypted file, its keyring apart, or what a schedule asks for. */
export function backupCommand(): Command {
  return withRecipients(
    new Command("backup")
      .description("write a store, without its keys, into an encrypted file; its keyring apart")
      .option("--out <file>", "the new file")
      .option("--keyring <file>", "copy the keyring, whose keys are wrapped, into a new file")
      .option("--folder <dir>", "keep backups in this folder: write one when it is due")
      .option("--every <span>", "with --folder: how old the newest may be; without it 1d", span)
      .option("--keep <n>", "with --folder: as many of the newest stay; without it 7", count)
      .option("--keep-for <span>", "with --folder: younger ones stay; without it 30d", span)
      .option("--second <dir>", "with --folder: a second copy of each, on another medium"),
  ).action(async (_, command: Command) => {
    const { options, output } = contextOf<BackupOptions>(command);
    checkOptions(options);
    keepMemorySmall();
    if (options.keyring !== undefined) await copyKeyring(options, options.keyring, output);
    if (options.out !== undefined) await writeOne(options, options.out, output);
    if (options.folder !== undefined) await keepFolder(options, options.folder, output);
  });
}

function checkOptions(options: BackupOptions): void {
  const { out, folder, keyring } = options;
  if (out !== undefined && folder !== undefined) {
    throw new UsageError("--out and --folder exclude each other.");
  }
  if (out === undefined && folder === undefined && keyring === undefined) {
    throw new UsageError("Say where to: --out FILE, --folder DIR or --keyring FILE.");
  }
  for (const name of ["every", "keep", "keepFor", "second"] as const) {
    if (folder === undefined && options[name] !== undefined) {
      throw new UsageError(`--${name === "keepFor" ? "keep-for" : name} goes with --folder.`);
    }
  }
}

async function recipientsOf(options: RecipientOptions): Promise<AgeRecipients> {
  const passphrase = await readBackupPassphrase(options);
  const { recipient: recipients = [] } = options;
  if (recipients.length > 0) {
    if (options.backupPassphraseFile !== undefined) {
      throw new UsageError("--recipient and --backup-passphrase-file exclude each other.");
    }
    return { recipients };
  }
  if (passphrase === undefined) {
    throw new UsageError("Say who may open it: --recipient age1…, or --backup-passphrase-file.");
  }
  return { passphrase };
}

async function copyKeyring(options: BackupOptions, out: string, output: Output): Promise<void> {
  const { bytes } = await backUpKeyring({ directory: storeDirectory(options), out });
  await output.row({ keyring: out, bytes });
  await output.say(`The keyring is in ${out}. It opens with the passphrase of today.`);
}

async function writeOne(options: BackupOptions, out: string, output: Output): Promise<void> {
  const to = await recipientsOf(options);
  const { bytes, copies } = await backUp({ ...(await storeOf(options)), out, to });
  await recordAct(options, { kind: "BackupMade", facts: { of: "store", bytes } });
  await output.row({ file: out, bytes, ...copiesWire(copies) });
  await output.say(`The store is in ${out}, ${bytes} bytes, without its keys.`);
  await sayCopies(copies, output);
}

function copiesWire({ current, unreachable }: KeyringCopies) {
  return { keyring_copies: current, stale_copies: unreachable };
}

async function sayCopies({ current, unreachable }: KeyringCopies, output: Output): Promise<void> {
  for (const path of current) await output.say(`  ${printable(path)}: as the keyring is now`);
  for (const path of unreachable) {
    await output.say(`  ${printable(path)}: not there; keys made since are not in that copy`);
  }
}

async function storeOf(options: StoreOptions) {
  const directory = storeDirectory(options);
  return { directory, ...(await storeAccess(options)), app: "holdfast-cli" };
}

async function keepFolder(options: BackupOptions, folder: string, output: Output): Promise<void> {
  const policy: Partial<BackupPolicy> = {
    ...(options.every === undefined ? {} : { everyMs: options.every }),
    ...(options.keep === undefined ? {} : { keep: options.keep }),
    ...(options.keepFor === undefined ? {} : { keepForMs: options.keepFor }),
  };
  const done = await backUpWhenDue({
    ...(await storeOf(options)),
    folder,
    policy,
    to: await recipientsOf(options),
    ...(options.second === undefined ? {} : { second: options.second }),
  });
  const { status, file, removed, secondFailure, copies } = done;
  if (status === "written") {
    const facts = { of: "store", bytes: statSync(file).size, removed };
    await recordAct(options, { kind: "BackupMade", facts });
  }
  const told = copies === undefined ? {} : copiesWire(copies);
  await output.row({ status, file, removed, second_failure: secondFailure ?? null, ...told });
  await output.say(status === "written" ? `Written: ${file}` : `Not due: the newest is ${file}`);
  if (copies !== undefined) await sayCopies(copies, output);
  if (removed > 0) await output.say(`${removed} older ones removed.`);
  if (secondFailure !== undefined) {
    throw new HoldfastError("output_unwritable", { second: secondFailure });
  }
}

/** `holdfast rescue`: what of a store no server holds, readable without its keys. */
export function rescueCommand(): Command {
  return withRecipients(
    new Command("rescue")
      .description("write what no server holds of a store into an encrypted file, with its content")
      .requiredOption("--out <file>", "the new file"),
  ).action(async (_, command: Command) => {
    const { options, output } = contextOf<RecipientOptions & { readonly out: string }>(command);
    keepMemorySmall();
    const { out } = options;
    // Before it is written: what is recorded afterwards would not be in it.
    await recordAct(options, { kind: "BackupMade", facts: { of: "rescue" } });
    const { bytes } = await rescue({
      ...(await storeOf(options)),
      out,
      to: await recipientsOf(options),
    });
    await output.row({ file: out, bytes });
    await output.say(`What was not delivered is in ${out}, ${bytes} bytes.`);
  });
}

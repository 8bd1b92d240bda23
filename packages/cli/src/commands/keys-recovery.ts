import { writeFile } from "node:fs/promises";
import { createKeyDesk, HoldfastError } from "@holdfast/core";
import { generateRecoveryKey } from "@holdfast/core/recovery";
import { recoverStore, systemRandom } from "@holdfast/node";
import { Command } from "commander";
import { counted, table } from "../output.ts";
import { readNewPassphrase, textIn } from "../secrets.ts";
import { storeDirectory, withStore } from "../store.ts";
import { contextOf } from "./options.ts";

interface AddOptions {
  readonly recipient?: string;
  readonly out?: string;
  readonly actor?: string;
  readonly why: string;
}

/** `holdfast keys recovery add|ls`: keys that are kept offline. */
export function recoveryCommand(): Command {
  return new Command("recovery")
    .description("recovery keys: the second way in, kept offline")
    .addCommand(addCommand())
    .addCommand(lsCommand());
}

function addCommand(): Command {
  return new Command("add")
    .description("wrap the keyring to a new recovery key, printed once, or to an age recipient")
    .option("--recipient <age1…>", "wrap to this age X25519 recipient; its holder keeps the key")
    .option("--out <file>", "write the recovery key into this new file instead of printing it")
    .option("--actor <who>", "who adds it; recorded in the audit trail")
    .option("--why <code>", "reason code; recorded in the audit trail", "recovery")
    .action(async (_, command: Command) => {
      const { options, output } = contextOf<AddOptions>(command);
      const { recipient, out, actor, why } = options;
      await withStore(options, "write", async (store) => {
        const desk = createKeyDesk(store).recovery;
        const order = { why, ...(actor !== undefined && { actor }) };
        if (recipient !== undefined) {
          const added = await desk.add(recipient, order);
          await output.row({ ...added });
          await output.say(`wrapped to ${recipient}`);
          return;
        }
        const key = await generateRecoveryKey(systemRandom);
        // The key is safe before anything depends on it; it opens what it is said to before it is shown.
        if (out !== undefined) await writeSecret(out, `${key.words}\n`);
        const added = await desk.add(key.recipient, order);
        await desk.drill(key.words, order);
        const shown = out === undefined ? { words: key.words } : { out };
        await output.row({ ...added, ...shown });
        await output.say(`recovery key ${added.id}, drilled: it opens this store`);
        if (out === undefined) {
          await output.say(numbered(key.words));
          await output.say("Write the words down in this order and keep them off this machine.");
          await output.say("They are not shown again; whoever has them opens the store.");
        } else await output.say(`written to ${out}: move it off this machine`);
      });
    });
}

async function writeSecret(path: string, text: string): Promise<void> {
  try {
    await writeFile(path, text, { mode: 0o600, flag: "wx", flush: true });
  } catch (cause) {
    const exists = (cause as { readonly code?: unknown }).code === "EEXIST";
    throw new HoldfastError(exists ? "output_exists" : "output_unwritable", {}, { cause });
  }
}

function numbered(words: string): string {
  const list = words.split(" ").map((word, at) => `${String(at + 1).padStart(2)} ${word}`);
  const rows = [0, 1, 2, 3, 4, 5].map((row) => [0, 6, 12, 18].map((from) => list[from + row]));
  return table(["", "", "", ""], rows);
}

function lsCommand(): Command {
  return new Command("ls")
    .description("recovery keys that open this store")
    .action(async (_, command: Command) => {
      const { options, output } = contextOf(command);
      await withStore(options, "read", async (store) => {
        const keys = createKeyDesk(store).recovery.list();
        for (const key of keys) await output.row(key);
        const cells = keys.map(({ id, recipient, signingKeys }) => [id, recipient, signingKeys]);
        await output.say(table(["id", "recipient", "signing keys"], cells, 80));
        await output.say(counted(keys.length, "recovery key"));
      });
    });
}

interface RecoverOptions {
  readonly recoveryKeyFile: string;
  readonly newPassphraseFile?: string;
  readonly actor?: string;
}

function recoveryKeyIn(file: string): Promise<string> {
  return textIn(file, "--recovery-key-file");
}

/** `holdfast keys recover`: a new passphrase, by the recovery key. */
export function recoverCommand(): Command {
  return new Command("recover")
    .description("open the store by a recovery key and give it a new passphrase")
    .requiredOption("--recovery-key-file <file>", "file with the 24 words, or an age identity")
    .option("--new-passphrase-file <file>", "file that holds the new passphrase")
    .option("--actor <who>", "who recovers; recorded in the audit trail")
    .action(async (_, command: Command) => {
      const { options, output } = contextOf<RecoverOptions>(command);
      const { recoveryKeyFile, newPassphraseFile, actor } = options;
      const recoveryKey = await recoveryKeyIn(recoveryKeyFile);
      const passphrase = await readNewPassphrase(newPassphraseFile);
      const directory = storeDirectory(options);
      const recovered = await recoverStore({ directory, recoveryKey, passphrase });
      const facts = { recovery: recovered.recovery, provider: "software" } as const;
      const by = { why: "recovery", ...(actor !== undefined && { actor }) };
      await withStore(
        options,
        "write",
        (store) => store.audit.record({ kind: "KeyringRecovered", facts, ...by }),
        passphrase,
      );
      await output.row({ ...recovered });
      await output.say(
        `recovered: the new passphrase opens the store; ${counted(recovered.signingKeys, "signing key")} taken along`,
      );
    });
}

/** `holdfast keys drill`: proves that a recovery key opens, and changes nothing. */
export function drillCommand(): Command {
  return new Command("drill")
    .description("prove that a recovery key opens this store; nothing is changed")
    .requiredOption("--recovery-key-file <file>", "file with the 24 words, or an age identity")
    .option("--actor <who>", "who drills; recorded in the audit trail")
    .option("--why <code>", "reason code; recorded in the audit trail", "drill")
    .action(async (_, command: Command) => {
      const { options, output } = contextOf<RecoverOptions & { readonly why: string }>(command);
      const { recoveryKeyFile, actor, why } = options;
      const recoveryKey = await recoveryKeyIn(recoveryKeyFile);
      await withStore(options, "write", async (store) => {
        const order = { why, ...(actor !== undefined && { actor }) };
        const drilled = await createKeyDesk(store).recovery.drill(recoveryKey, order);
        await output.row({ ...drilled });
        const { signingKeys, withoutEscrow } = drilled;
        await output.say(`opens: the epoch key and ${counted(signingKeys, "signing key")}`);
        if (withoutEscrow > 0) {
          const number = counted(withoutEscrow, "signing key");
          await output.say(`${number} cannot be recovered: the provider keeps them to itself`);
        }
      });
    });
}

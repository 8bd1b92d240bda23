import { existsSync, readdirSync } from "node:fs";
import { isCancel, password } from "@clack/prompts";
import { type EnrolmentCode, parseEnrolmentCode } from "@holdfast/core";
import { initStore } from "@holdfast/node";
import { Command } from "commander";
import { withDesk } from "../desk.ts";
import { readPassphrase, textIn } from "../secrets.ts";
import { type StoreOptions, storeDirectory, UsageError, withStore } from "../store.ts";
import { contextOf } from "./options.ts";

interface EnrollOptions {
  readonly codeFile?: string;
  readonly tenant?: string;
}

const notes = `
The code is a secret that is used once. It comes from --code-file, from HOLDFAST_CODE, or from a prompt.
"holdfast serve" prints the code that founds a tenant; "holdfast devices invite" makes codes for further devices.
An empty or missing folder gets a new store.`;

/** `holdfast enroll`: makes a store one of the devices that sync through a server. */
export function enrollCommand(): Command {
  return new Command("enroll")
    .description(
      "enrol the store at the server that a code names; an empty folder gets a new store",
    )
    .option("--code-file <file>", "file that holds the code")
    .option(
      "--tenant <label>",
      "name of the tenant, for a new store; stays a label outside the log",
    )
    .addHelpText("after", notes)
    .action(async (_, command: Command) => {
      const { options, output } = contextOf<EnrollOptions>(command);
      const directory = storeDirectory(options);
      const text = await readCode(options);
      const code = parseEnrolmentCode(text);
      const made = await makeStoreFor(code, directory, options);
      await withStore(options, "write", async (store) => {
        const answer = await withDesk(store, (desk) => desk.enrol(text));
        const { tenant, device, role, founder } = answer;
        await output.row({ server: code.url, tenant, device, role, founder, made });
        if (made) await output.say(`A new store is in ${directory}.`);
        await output.say(`Enrolled at ${code.url} as ${role}.`);
        await output.say(`  tenant  ${tenant}\n  device  ${device}`);
        await output.say(
          code.joins === undefined
            ? "Next: holdfast sync; then holdfast devices invite, for the next device."
            : "Next: holdfast sync here, then on a device of an admin, then here again: the keys follow.",
        );
      });
    });
}

/** Makes the store in an empty folder: of the tenant in the code, or of one of its own. Was it made? */
async function makeStoreFor(
  code: EnrolmentCode,
  directory: string,
  options: EnrollOptions & StoreOptions,
): Promise<boolean> {
  if (existsSync(directory) && readdirSync(directory).length > 0) return false;
  const { joins } = code;
  const tenant = options.tenant ?? joins?.tenant;
  if (tenant === undefined) {
    throw new UsageError("The code founds a tenant: name it with --tenant LABEL.");
  }
  const passphrase = await readPassphrase(options, "ask twice");
  await initStore({ directory, passphrase, tenant, ...(joins === undefined ? {} : { joins }) });
  return true;
}

/** An enrolment code: from `--code-file`, from HOLDFAST_CODE, or from a prompt. */
export async function readCode({ codeFile }: Pick<EnrollOptions, "codeFile">): Promise<string> {
  if (codeFile !== undefined) return textIn(codeFile, "--code-file");
  const given = process.env["HOLDFAST_CODE"];
  if (given !== undefined) return given;
  if (!process.stdin.isTTY) {
    throw new UsageError("Give the code: --code-file FILE, or HOLDFAST_CODE.");
  }
  const answer = await password({ message: "Enrolment code", output: process.stderr });
  if (isCancel(answer) || answer === undefined) throw new UsageError("No code was given.");
  return answer;
}

import { existsSync, readdirSync } from "node:fs";
import {
  enrol,
  type EnrolmentCode,
  grantStoreOf,
  parseEnrolmentCode,
  syncStoreOf,
} from "@holdfast/core";
import { initStore } from "@holdfast/node";
import { Command } from "commander";
import { readPassphrase } from "../secrets.ts";
import { withTransport } from "../server.ts";
import { storeDirectory, type StoreOptions, UsageError, withStore } from "../store.ts";
import { contextOf } from "./options.ts";

/** `holdfast enroll`: presents a code to the server that it names; makes the store where there is none. */
export function enrollCommand(): Command {
  return new Command("enroll")
    .description(
      "enrol the store at the server that a code names; an empty folder gets a new store",
    )
    .argument("<code>", "enrolment code, hf1-…")
    .option(
      "--tenant <label>",
      "name of the tenant, for a new store; stays a label outside the log",
    )
    .action(async (text: string, _, command: Command) => {
      const { options, output } = contextOf<{ readonly tenant?: string }>(command);
      const code = parseEnrolmentCode(text);
      const made = await makeStore(options, code, options.tenant);
      await withStore(options, "write", (store) =>
        withTransport(code.url, async (transport) => {
          const grants = grantStoreOf(store);
          const deps = { crypto: grants.crypto, store: syncStoreOf(store), grants, transport };
          const { tenant, device, role, founder } = await enrol(deps, code);
          await output.row({ server: code.url, tenant, device, role, founder, made });
          if (made) await output.say(`A new store is in ${storeDirectory(options)}.`);
          await output.say(`Enrolled at ${code.url}.`);
          await output.say(`  tenant  ${tenant}\n  device  ${device}\n  role    ${role}`);
          await output.say(
            founder === device
              ? "This device founded the tenant."
              : "Sync now, and again after an admin's device has synced: then the keys arrive.",
          );
        }),
      );
    });
}

/** Makes the store in an empty folder: of the code's tenant, or of one of its own. */
async function makeStore(
  options: StoreOptions,
  { joins }: EnrolmentCode,
  label: string | undefined,
): Promise<boolean> {
  const directory = storeDirectory(options);
  if (existsSync(directory) && readdirSync(directory).length > 0) return false;
  if (joins === undefined && label === undefined) {
    throw new UsageError("The code founds a tenant: name it with --tenant LABEL.");
  }
  const passphrase = await readPassphrase(options, "ask twice");
  const tenant = label ?? joins?.tenant ?? "";
  await initStore({ directory, passphrase, tenant, ...(joins !== undefined && { joins }) });
  return true;
}

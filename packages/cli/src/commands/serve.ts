import { Command, Option } from "commander";
import type { SettingName } from "@holdfast/server/serve";
import { UsageError } from "../store.ts";
import { contextOf } from "./options.ts";

/** Flags as they came: text, or true for one without a value. */
type Flags = Readonly<Partial<Record<string, string | boolean>>> & { readonly config?: string };

/** Settings that have a flag of the command; the server checks them (packages/server/src/config.ts). */
const flags: readonly (readonly [SettingName, string, string])[] = [
  ["host", "<address>", "address to listen on; default: 127.0.0.1"],
  ["port", "<number>", "port to listen on, 0: any that is free; default: 8443"],
  ["data", "<dir>", "folder of the server's database and keys; default: holdfast-data"],
  ["database_url", "<url>", "PostgreSQL to keep events in; default: SQLite in that folder"],
  [
    "keys",
    "<file>",
    "key file of the server that this node belongs to; default: made in that folder",
  ],
  ["node", "<name>", "name of this node among those on one database; default: 1"],
  ["name", "<name>", "name in log origins and tokens, fixed at the first start"],
  ["public_url", "<url>", "address that devices use, written into enrolment codes"],
  ["reads", "<granted|none>", "whether devices may grant keys to the server; default: granted"],
  ["tls_certificate", "<file>", "PEM file with the certificate chain"],
  ["tls_key", "<file>", "PEM file with the certificate's private key"],
  ["profile", "<development|production>", "production refuses weak settings by name"],
  ["allow_plaintext", "", "listen without TLS where other machines reach it, behind a proxy"],
];

const notes = `
Every setting, also those without a flag, has a key in the --config file (JSON) and an environment variable:
port is "port" and HOLDFAST_PORT. Flags go before the environment, the environment before the file.`;

/** `holdfast serve`: a sync server in this process, until it is interrupted. */
export function serveCommand(): Command {
  const command = new Command("serve")
    .description(
      "run a sync server, with its database in a folder or on PostgreSQL, until interrupted",
    )
    .option("--config <file>", "settings as JSON")
    .option("--new-code", "print another code that founds a tenant")
    .addHelpText("after", notes);
  for (const [name, value, help] of flags) {
    const flag = `--${name.replaceAll("_", "-")}`;
    command.addOption(new Option(value === "" ? flag : `${flag} ${value}`, help));
  }
  return command.action(async (_, self: Command) => {
    const { options, output } = contextOf<Flags>(self);
    // Other commands do not wait for what only a server needs.
    const { loadConfig, readConfigFile, startServer } = await import("@holdfast/server/serve");
    const own: Partial<Record<SettingName, unknown>> = {};
    for (const [name] of flags) own[name] = (options as Flags)[camelCase(name)];
    // An option of every command.
    own.key_settings = options.keySettings;
    const file = options.config === undefined ? undefined : readConfigFile(options.config);
    if (options.config === "") throw new UsageError("Name the file: --config FILE.");
    const config = loadConfig({
      ...(file === undefined ? {} : { file }),
      environment: process.env,
      flags: own,
    });
    const server = await startServer(config);
    const asked = (options as Flags)["newCode"] === true;
    const code = server.code ?? (asked ? await server.foundingCode() : undefined);
    await output.row({ url: server.url, ...(code === undefined ? {} : { code }) });
    await output.say(`Listening on ${server.url}`);
    if (code !== undefined) {
      await output.say(`Code that founds a tenant, used once:\n  ${code}`);
    }
    await stopped();
    await server.close();
  });
}

function camelCase(name: string): string {
  return name.replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

/** Resolves on SIGINT or SIGTERM. */
export function stopped(): Promise<void> {
  return new Promise((resolve) => {
    const stop = (): void => {
      process.off("SIGINT", stop);
      process.off("SIGTERM", stop);
      resolve();
    };
    process.on("SIGINT", stop);
    process.on("SIGTERM", stop);
  });
}

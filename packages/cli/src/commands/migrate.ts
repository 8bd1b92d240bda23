import { readFile } from "node:fs/promises";
import {
  createPayloadMigration,
  declaredType,
  HoldfastError,
  type Migration,
  type MigrationPlan,
  type MigrationRecord,
  type MigrationRecords,
  runMigration,
  silentObserver,
} from "@holdfast/core";
import {
  applyMigration,
  createNodeCrypto,
  dryRunMigration,
  type MigrateOptions,
  migrationStatus,
  payloadRecords,
  rollBackMigration,
  systemClock,
} from "@holdfast/node";
import { createLegacyMigration } from "@holdfast/packs";
import { Command } from "commander";
import { confirmedStore } from "../confirm.ts";
import { counted, exitCodes, type Output } from "../output.ts";
import {
  projections,
  registry,
  storeAccess,
  storeDirectory,
  type StoreOptions,
  withStore,
} from "../store.ts";
import { contextOf } from "./options.ts";

/** `holdfast migrate plan|dry-run|apply|rollback|status`: changes of the format on disk, by hand. */
export function migrateCommand(): Command {
  return new Command("migrate")
    .description(
      "changes of the format on disk; opening a store for writing applies them by itself",
    )
    .addCommand(statusCommand("plan", "what opening for writing would change"))
    .addCommand(dryRunCommand())
    .addCommand(applyCommand())
    .addCommand(rollbackCommand())
    .addCommand(
      statusCommand("status", "format of the store, and where its last migration stands"),
    );
}

interface TypeOptions extends StoreOptions {
  readonly type?: string;
}

interface ApplyOptions extends TypeOptions {
  readonly outbox?: string;
  readonly actor?: string;
}

async function applied(options: ApplyOptions): Promise<MigrationRecord | undefined> {
  const run = (migration: Migration, records: MigrationRecords): Promise<MigrationRecord> =>
    runMigration(
      { records, clock: systemClock, observer: silentObserver, app: "holdfast-cli" },
      migration,
    );
  if (options.outbox !== undefined) return withOutbox(options, options.outbox, run);
  if (options.type !== undefined) return withPayload(options, "write", run);
  return applyMigration(await asked(options));
}

/** Runs with an outbox that is taken over; `undefined`: every entry is recorded already. */
async function withOutbox<T>(
  options: ApplyOptions,
  path: string,
  use: (migration: Migration, records: MigrationRecords) => Promise<T>,
): Promise<T | undefined> {
  const text = await readFile(path, "utf8").catch((cause: unknown) => {
    throw new HoldfastError("input_unreadable", { argument: "--outbox" }, { cause });
  });
  const { actor = "legacy-outbox" } = options;
  return withStore(options, "write", async (store) => {
    const migration = createLegacyMigration({ crypto: createNodeCrypto(), store, actor }, text);
    if (migration.stands() === "after") return undefined;
    return use(migration, payloadRecords(store.status().storeId, "legacy-outbox"));
  });
}

/** Runs with the upgrade of the payload of a type in an open store; `undefined`: nothing is due. */
function withPayload<T>(
  options: TypeOptions,
  mode: "read" | "write",
  use: (migration: Migration, records: MigrationRecords) => Promise<T>,
): Promise<T | undefined> {
  const type = declaredType(registry.types, options.type ?? "");
  const models = projections.filter(({ types }) => types.includes(type.type));
  return withStore(options, mode, async (store) => {
    const names = models.map(({ name }) => name);
    const migration = createPayloadMigration(store, type, names);
    if (migration === undefined) return undefined;
    return use(migration, payloadRecords(store.status().storeId, type.type));
  });
}

async function asked(options: StoreOptions): Promise<MigrateOptions> {
  const directory = storeDirectory(options);
  return { directory, ...(await storeAccess(options)), app: "holdfast-cli" };
}

function statusCommand(name: "plan" | "status", description: string): Command {
  return new Command(name).description(description).action(async (_, command: Command) => {
    const { options, output } = contextOf(command);
    const found = await migrationStatus(await asked(options));
    const { format, current, due, interrupted, last } = found;
    await output.row({
      format,
      current,
      interrupted,
      due: due === undefined ? null : { ...due },
      last: last === undefined ? null : recordWire(last),
    });
    await output.say(`format ${format}; this release: ${current}`);
    if (due === undefined) await output.say("Nothing is due.");
    else await sayPlan(due, interrupted, output);
    if (name === "status" && last !== undefined) await sayRecord(last, output);
  });
}

function dryRunCommand(): Command {
  return new Command("dry-run")
    .description("try it on a copy and verify that; the store stays as it is")
    .option("--type <type>", "of an event type's payload: is every recorded one lifted?")
    .action(async (_, command: Command) => {
      const { options, output } = contextOf<TypeOptions>(command);
      const outcome =
        options.type === undefined
          ? await dryRunMigration(await asked(options))
          : await withPayload(options, "read", (migration) => migration.dryRun());
      if (outcome === undefined) return sayNothingDue(output);
      const { records, errors, problem } = outcome;
      await output.row({ passed: errors === 0, records, errors, problem: problem ?? null });
      await output.say(
        problem === undefined
          ? `It would pass: ${counted(records, "record")} compared, the log as before.`
          : `It would fail: ${problem.code}, ${problem.object}`,
      );
      if (errors > 0) process.exitCode = exitCodes.checkFailed;
    });
}

function applyCommand(): Command {
  return new Command("apply")
    .description("apply what is due, or take what was interrupted to its end")
    .option("--type <type>", "of an event type's payload: build its read models anew and verify")
    .option("--outbox <file>", "take over the exported outbox of an earlier application")
    .option("--actor <words>", "with --outbox: on whose authority; without it legacy-outbox")
    .action(async (_, command: Command) => {
      const { options, output } = contextOf<ApplyOptions>(command);
      const record = await applied(options);
      if (record === undefined) return sayNothingDue(output);
      await output.row(recordWire(record));
      await sayRecord(record, output);
    });
}

function rollbackCommand(): Command {
  return new Command("rollback")
    .description(
      "take the last one back, for an earlier release; refused where something would be lost",
    )
    .option("--yes", "do not ask for the store's id")
    .action(async (_, command: Command) => {
      const { options, output } = contextOf<{ readonly yes?: boolean }>(command);
      const wanted = await asked(options);
      if (options.yes !== true) {
        const { storeId } = await migrationStatus(wanted);
        await confirmedStore(storeId, "The store goes back to its earlier format.");
      }
      const record = await rollBackMigration(wanted);
      await output.row(recordWire(record));
      await sayRecord(record, output);
      await output.say("This release lifts it again when it is next opened for writing.");
    });
}

async function sayNothingDue(output: Output): Promise<void> {
  await output.row({ due: null });
  await output.say("Nothing is due.");
}

async function sayPlan(
  { id, description, affected }: MigrationPlan,
  interrupted: boolean,
  output: Output,
): Promise<void> {
  await output.say(`${interrupted ? "Interrupted" : "Due"}: ${id}. ${description}.`);
  await output.say(`  changes: ${affected.join(", ")}`);
}

function recordWire({ id, from, to, phase, ...rest }: MigrationRecord) {
  const { records, errors, durationMs, failure } = rest;
  return {
    id,
    from,
    to,
    phase,
    records,
    errors,
    duration_ms: durationMs,
    failure: failure ?? null,
  };
}

async function sayRecord(
  { id, phase, records, errors, durationMs, failure }: MigrationRecord,
  output: Output,
): Promise<void> {
  await output.say(
    `${id}: ${phase}; ${counted(records, "record")}, ${counted(errors, "error")}, ${durationMs} ms`,
  );
  if (failure !== undefined) {
    await output.say(`  ${failure.phase} did not pass: ${failure.code}, ${failure.object}`);
  }
}

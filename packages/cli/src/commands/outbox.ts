import {
  type Attempt,
  type DeadLetter,
  type DeadLetterFilter,
  type EntryDetail,
  isoTime,
  type ListedEntry,
  type OutboxExportRow,
  type OutboxLeaseRow,
  severities,
  type Severity,
} from "@holdfast/core";
import { Command, Option } from "commander";
import { csvLine } from "../csv.ts";
import { counted, type Output, printable, table } from "../output.ts";
import { drain, type Write, writeFileWhole } from "../sink.ts";
import { type StoreOptions, UsageError, withStore } from "../store.ts";
import { contextOf, count, instant, position, span } from "./options.ts";

/** `holdfast outbox …`: what waits to be delivered, what was given up on, and what to do about it. */
export function outboxCommand(): Command {
  return new Command("outbox")
    .description("what waits to be delivered, and what was given up on")
    .addCommand(lsCommand())
    .addCommand(showCommand())
    .addCommand(redriveCommand())
    .addCommand(archiveCommand())
    .addCommand(purgeCommand())
    .addCommand(exportCommand())
    .addCommand(leasesCommand())
    .addCommand(releaseCommand());
}

const time = (at: number | undefined): string | null => (at === undefined ? null : isoTime(at));

function entryWire(entry: ListedEntry) {
  const { position: at, id, leaf, type, op, stream, lane, state, attempts } = entry;
  const enqueued_at = isoTime(entry.enqueuedAt);
  const next_at = time(entry.nextAt);
  return { position: at, id, leaf, type, op, stream, lane, state, attempts, enqueued_at, next_at };
}

function letterWire(letter: DeadLetter) {
  const { enqueuedAt, createdAt, updatedAt, archivedAt, status, ...rest } = letter;
  return {
    ...rest,
    status: status ?? null,
    enqueued_at: isoTime(enqueuedAt),
    created_at: isoTime(createdAt),
    updated_at: isoTime(updatedAt),
    archived_at: time(archivedAt),
  };
}

function attemptWire(attempt: Attempt) {
  const { number, endpoint, entries, result, code, status, startedAt, endedAt } = attempt;
  return {
    number,
    endpoint,
    entries,
    result: result ?? null,
    code: code ?? null,
    status: status ?? null,
    started_at: isoTime(startedAt),
    ended_at: time(endedAt),
  };
}

interface LsOptions extends FilterOptions {
  readonly deadLetters?: boolean;
  readonly archived?: boolean;
  readonly state?: "waiting" | "leased" | "dead";
  readonly after?: number;
  readonly limit?: number;
}

interface FilterOptions {
  readonly code?: string;
  readonly severity?: Severity;
  readonly type?: string;
  readonly lane?: "urgent" | "normal";
  readonly since?: number;
}

/** Conditions on dead letters, for those that are listed and those that are redriven. */
function withFilter(command: Command): Command {
  return command
    .option("--code <code>", "dead letters with that code")
    .addOption(new Option("--severity <severity>", "of that severity").choices(severities))
    .option("--type <type>", "of that event type")
    .addOption(new Option("--lane <lane>", "of that lane").choices(["urgent", "normal"]))
    .option("--since <time>", "recorded, or given up on, at or after", instant);
}

function filterOf(options: FilterOptions): DeadLetterFilter {
  const { code, severity, type, lane, since } = options;
  return {
    ...(code === undefined ? {} : { code }),
    ...(severity === undefined ? {} : { severity }),
    ...(type === undefined ? {} : { type }),
    ...(lane === undefined ? {} : { lane }),
    ...(since === undefined ? {} : { since }),
  };
}

function lsCommand(): Command {
  return withFilter(
    new Command("ls")
      .description("entries in order, or dead letters")
      .option("--dead-letters", "what was given up on")
      .option("--archived", "with --dead-letters: the archived ones")
      .addOption(
        new Option("--state <state>", "entries in that state").choices([
          "waiting",
          "leased",
          "dead",
        ]),
      )
      .option("--after <position>", "after this position", position)
      .option("--limit <n>", "at most so many", count),
  ).action(async (_, command: Command) => {
    const { options, output } = contextOf<LsOptions>(command);
    const page = {
      ...(options.after === undefined ? {} : { after: options.after }),
      ...(options.limit === undefined ? {} : { limit: options.limit }),
    };
    checkLs(options);
    await withStore(options, "read", async ({ outbox }) => {
      if (options.deadLetters === true) {
        const archived = options.archived === true;
        await printLetters(output, outbox.deadLetters({ ...filterOf(options), ...page, archived }));
        return;
      }
      const { state, lane, since } = options;
      const entries = outbox.list({
        ...page,
        ...(state === undefined ? {} : { state }),
        ...(lane === undefined ? {} : { lane }),
        ...(since === undefined ? {} : { since }),
      });
      await printEntries(output, entries);
    });
  });
}

function checkLs(options: LsOptions): void {
  const { deadLetters, archived, state, code, severity, type } = options;
  if (deadLetters === true && state !== undefined) {
    throw new UsageError("--state and --dead-letters exclude each other.");
  }
  const asked = { archived, code, severity, type };
  const alone = Object.entries(asked).find(([, value]) => value !== undefined);
  if (deadLetters !== true && alone !== undefined) {
    throw new UsageError(`--${alone[0]} goes with --dead-letters.`);
  }
}

async function printEntries(output: Output, entries: readonly ListedEntry[]): Promise<void> {
  const wire = entries.map(entryWire);
  for (const entry of wire) await output.row(entry);
  const names = ["position", "id", "type", "lane", "state", "attempts", "next_at"] as const;
  const cells = wire.map((entry) => names.map((name) => entry[name]));
  await output.say(table(names, cells));
  await output.say(`${entries.length} ${entries.length === 1 ? "entry" : "entries"}`);
}

async function printLetters(output: Output, letters: readonly DeadLetter[]): Promise<void> {
  const wire = letters.map(letterWire);
  for (const letter of wire) await output.row(letter);
  const names = ["position", "id", "type", "attempts", "code", "severity", "created_at"] as const;
  const cells = wire.map((letter) => names.map((name) => letter[name]));
  await output.say(table(names, cells));
  await output.say(counted(letters.length, "dead letter"));
}

function showCommand(): Command {
  return new Command("show")
    .description("one entry with its attempts, and why it was given up on")
    .argument("<id>", "id or leaf of the event")
    .action(async (id: string, _, command: Command) => {
      const { options, output } = contextOf(command);
      await withStore(options, "read", async ({ outbox }) => {
        await printDetail(output, outbox.show(id));
      });
    });
}

async function printDetail(output: Output, detail: EntryDetail): Promise<void> {
  const { letter } = detail;
  const entry = entryWire(detail);
  const tried = detail.tried.map(attemptWire);
  const dead = letter === undefined ? null : letterWire(letter);
  await output.row({ ...entry, tried, dead_letter: dead });
  for (const [name, value] of Object.entries(entry)) {
    await output.say(`${name.padEnd(12)} ${printable(String(value ?? ""))}`);
  }
  if (dead !== null) {
    const status = dead.status === null ? "" : ` (${dead.status})`;
    await output.say(printable(`given up on  ${dead.created_at}: ${dead.code}${status}`));
    await output.say(printable(`             ${dead.severity}: ${dead.message}`));
  }
  const names = ["number", "endpoint", "started_at", "result", "code", "status"] as const;
  const cells = tried.map((one) => names.map((name) => one[name]));
  await output.say(table(["attempt", ...names.slice(1)], cells));
}

interface RedriveOptions extends FilterOptions {
  readonly all?: boolean;
}

function redriveCommand(): Command {
  return withFilter(
    new Command("redrive")
      .description("put a dead letter back into the outbox, under the same event id")
      .argument("[id]", "id or leaf of the event")
      .option("--all", "all that meet the conditions"),
  ).action(async (id: string | undefined, _, command: Command) => {
    const { options, output } = contextOf<RedriveOptions>(command);
    const filter = filterOf(options);
    if ((id === undefined) === (options.all !== true)) {
      throw new UsageError("Name one dead letter, or give --all.");
    }
    if (id !== undefined && Object.keys(filter).length > 0) {
      throw new UsageError("Conditions go with --all.");
    }
    await withStore(options, "write", async ({ outbox }) => {
      const redriven =
        id === undefined ? await outbox.redriveAll(filter) : await outbox.redrive(id).then(() => 1);
      await output.row({ redriven });
      await output.say(`${counted(redriven, "dead letter")} put back`);
    });
  });
}

interface AgeOptions {
  readonly olderThan?: number;
}

function archiveCommand(): Command {
  return new Command("archive")
    .description("lay a dead letter aside; it can still be redriven")
    .argument("[id]", "id or leaf of the event")
    .option("--older-than <span>", "all that were given up on so long ago: 12h, 30d", span)
    .action(async (id: string | undefined, _, command: Command) => {
      const { options, output } = contextOf<AgeOptions>(command);
      const { olderThan } = options;
      if ((id === undefined) === (olderThan === undefined)) {
        throw new UsageError("Name one dead letter, or give --older-than.");
      }
      await withStore(options, "write", async ({ outbox }) => {
        const archived =
          id === undefined
            ? await outbox.archiveOlderThan(olderThan ?? 0)
            : await outbox.archive(id).then(() => 1);
        await output.row({ archived });
        await output.say(`${counted(archived, "dead letter")} archived`);
      });
    });
}

function purgeCommand(): Command {
  return new Command("purge")
    .description("remove archived dead letters past their retention; their events stay in the log")
    .option("--older-than <span>", "archived so long ago; without it 30d", span)
    .action(async (_, command: Command) => {
      const { options, output } = contextOf<AgeOptions>(command);
      await withStore(options, "write", async ({ outbox }) => {
        const purged = await outbox.purge(options.olderThan);
        await output.row({ purged });
        await output.say(`${counted(purged, "dead letter")} removed; the events stay`);
      });
    });
}

interface ExportOptions extends StoreOptions {
  readonly format: "json" | "ndjson" | "csv";
  readonly since?: number;
  readonly deadLetters?: boolean;
  readonly includePayload?: boolean;
  readonly out?: string;
}

function exportCommand(): Command {
  return new Command("export")
    .description("entries that wait, or dead letters, for analysis elsewhere")
    .addOption(
      new Option("--format <format>", "form of the output")
        .choices(["json", "ndjson", "csv"])
        .default("json"),
    )
    .option("--since <time>", "recorded, or given up on, at or after", instant)
    .option("--dead-letters", "what was given up on, archived ones too")
    .option("--include-payload", "with what the events say: personal data")
    .option("--out <file>", "into a new file; without it to standard output")
    .action(async (_, command: Command) => {
      const { options, output } = contextOf<ExportOptions>(command);
      const { format, since, deadLetters = false, includePayload = false, out } = options;
      if (options.json === true && format === "csv" && out === undefined) {
        throw new UsageError("--json and --format csv exclude each other.");
      }
      await withStore(options, "read", async ({ outbox }) => {
        const wanted = { deadLetters, includePayload, ...(since === undefined ? {} : { since }) };
        const pieces = (): Generator<string, number> =>
          exportPieces(format, outbox.export(wanted), columnsOf(deadLetters, includePayload));
        if (out === undefined) {
          await drain(pieces(), (piece) => output.raw(piece as string));
          return;
        }
        let entries = 0;
        await writeFileWhole(out, async (write: Write) => {
          entries = await drain(pieces(), write);
        });
        await output.row({ entries });
        await output.say(`Written, in plaintext. entries: ${entries}`);
      });
    });
}

const entryColumns = [
  "id",
  "operation_type",
  "entity_type",
  "entity_id",
  "enqueued_at",
  "attempt_count",
  "next_retry_at",
  "backoff_ms",
  "status",
] as const satisfies readonly (keyof OutboxExportRow)[];
const letterColumns = [
  "error_code",
  "error_message",
  "http_status",
  "severity",
  "created_at",
  "updated_at",
  "archived_at",
] as const satisfies readonly (keyof OutboxExportRow)[];

function columnsOf(
  deadLetters: boolean,
  includePayload: boolean,
): readonly (keyof OutboxExportRow)[] {
  return [
    ...entryColumns,
    ...(deadLetters ? letterColumns : []),
    ...(includePayload ? (["payload"] as const) : []),
  ];
}

/** The export in pieces, one row at a time; returns how many rows there were. */
function* exportPieces(
  format: ExportOptions["format"],
  rows: Iterable<OutboxExportRow>,
  columns: readonly (keyof OutboxExportRow)[],
): Generator<string, number> {
  let total = 0;
  if (format === "csv") yield csvLine(columns);
  if (format === "json") yield `{"exported_at":"${new Date().toISOString()}","entries":[`;
  for (const row of rows) {
    if (format === "csv") yield csvLine(columns.map((name) => row[name]));
    else if (format === "ndjson") yield `${JSON.stringify(row)}\n`;
    else yield `${total === 0 ? "" : ","}\n${JSON.stringify(row)}`;
    total += 1;
  }
  // Last, because only now is it known how many were written.
  if (format === "json") yield `\n],"total_count":${total}}\n`;
  return total;
}

function leaseWire(row: OutboxLeaseRow) {
  const { name, holder, token, entries, expired, metadata, released } = row;
  return {
    name,
    holder: holder ?? null,
    token,
    entries,
    expired,
    acquired_at: isoTime(row.acquiredAt),
    heartbeat_at: isoTime(row.heartbeatAt),
    expires_at: isoTime(row.expiresAt),
    metadata,
    released: released ?? null,
  };
}

function leasesCommand(): Command {
  return new Command("leases")
    .description("which workers deliver which entries just now")
    .action(async (_, command: Command) => {
      const { options, output } = contextOf(command);
      await withStore(options, "read", async ({ outbox }) => {
        const leases = outbox.leases().map(leaseWire);
        for (const lease of leases) await output.row(lease);
        const names = ["name", "holder", "token", "entries", "expires_at", "expired"] as const;
        const cells = leases.map((lease) => names.map((name) => lease[name]));
        await output.say(table(names, cells));
        for (const { name, released } of leases) {
          if (released === null) continue;
          await output.say(printable(`${name} was released by force: ${released.reason}`));
        }
        await output.say(counted(leases.length, "lease"));
      });
    });
}

interface ReleaseOptions {
  readonly actor?: string;
  readonly reason?: string;
}

function releaseCommand(): Command {
  return new Command("release")
    .description("end a worker's lease by force; what it still sends is recognised")
    .argument("<worker>", "holder of the lease, as leases shows it")
    .option("--actor <words>", "on whose authority")
    .option("--reason <words>", "why; kept with the lease")
    .action(async (worker: string, _, command: Command) => {
      const { options, output } = contextOf<ReleaseOptions>(command);
      const { actor, reason } = options;
      if (actor === undefined || reason === undefined) {
        throw new UsageError("--actor and --reason are needed: who ends the lease, and why?");
      }
      await withStore(options, "write", async ({ outbox }) => {
        await outbox.forceRelease(worker, { actor, reason });
        await output.row({ released: worker });
        await output.say(printable(`${worker}: released`));
      });
    });
}

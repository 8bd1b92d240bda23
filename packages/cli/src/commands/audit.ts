import { setTimeout } from "node:timers/promises";
import {
  auditKindOf,
  auditTrailTypes,
  type Holdfast,
  isAuditType,
  isoTime,
  type RecordedEvent,
} from "@holdfast/core";
import { Command } from "commander";
import { type Output, printable } from "../output.ts";
import { withStore } from "../store.ts";
import { collect, contextOf, count, instant } from "./options.ts";
import { interruption } from "./watch.ts";

interface TailOptions {
  readonly follow?: boolean;
  readonly limit: number;
  readonly for?: number;
  readonly kind?: readonly string[];
  readonly actor?: string;
  readonly why?: string;
  readonly since?: number;
  readonly until?: number;
}

/** `holdfast audit tail`: who did what to keys, backups and leases, and which starts were refused. */
export function auditCommand(): Command {
  return new Command("audit")
    .description("the audit trail: acts on keys, backups and leases, and refused starts")
    .addCommand(tailCommand());
}

function tailCommand(): Command {
  return new Command("tail")
    .description("the last audit events, oldest first; --follow: and those to come")
    .option("--limit <count>", "how many of the last ones", count, 20)
    .option("--kind <kind>", "only of this kind; may be given several times", collect)
    .option("--actor <who>", "only by this actor, in words or as an id")
    .option("--why <code>", "only with this reason code")
    .option("--since <time>", "recorded at or after", instant)
    .option("--until <time>", "recorded before", instant)
    .option("--follow", "go on with what is recorded from now on, until interrupted")
    .option("--for <seconds>", "with --follow: end after so many seconds", count)
    .addHelpText("after", `\nKinds: ${auditTrailTypes.join(", ")}`)
    .action(async (_, command: Command) => {
      const { options, output } = contextOf<TailOptions>(command);
      await withStore(options, "read", (store) => tail(store, options, output));
    });
}

async function tail(store: Holdfast, options: TailOptions, output: Output): Promise<void> {
  const { limit, kind: kinds, actor, why, since, until } = options;
  const query = {
    ...(kinds !== undefined && { kinds }),
    ...(actor !== undefined && { actor: actorId(store, actor) }),
    ...(why !== undefined && { why }),
    ...(since !== undefined && { since }),
    ...(until !== undefined && { until }),
  };
  let after = 0;
  const print = async (events: readonly RecordedEvent[]): Promise<void> => {
    for (const event of events) {
      await output.row(auditWire(event));
      await output.say(lineOf(event));
      after = event.position;
    }
  };
  await print(store.audit.read({ ...query, limit }));
  if (options.follow !== true) return;
  const over = interruption(options.for).then(() => "over");
  while ((await Promise.race([over, setTimeout(pollMs, "poll")])) === "poll") {
    await print(store.audit.read({ ...query, after }));
  }
}

const pollMs = 250;

/** An actor's id as it stands in headers: what has the form of one is taken as one. */
function actorId(store: Holdfast, actor: string): string {
  return /^[A-Za-z0-9_-]{21}[AQgw]$/.test(actor) ? actor : store.actorId(actor);
}

/** What the event says: sections of audit events, `pub` of system events. */
function factsOf(event: RecordedEvent): Readonly<Record<string, unknown>> | undefined {
  const data = event.data as Readonly<Record<string, unknown>> | undefined;
  return event.header.pub ?? data;
}

function auditWire(event: RecordedEvent): unknown {
  const { position, id, type, op, actor, header, reason, content } = event;
  return {
    position,
    id,
    kind: type,
    op,
    at: isoTime(event.recordedAt),
    device: header.dev,
    actor,
    why: header.why ?? null,
    reason: reason ?? null,
    facts: factsOf(event) ?? null,
    tier: header.tier,
    content,
  };
}

function lineOf(event: RecordedEvent): string {
  const { type, header, reason, content } = event;
  const facts = factsOf(event);
  const said = Object.entries(facts ?? {}).map(
    ([name, value]) => `${name}=${typeof value === "object" ? "…" : JSON.stringify(value)}`,
  );
  const why = header.why === undefined ? [] : [`why=${header.why}`];
  const words = reason === undefined ? [] : [`"${reason}"`];
  const means = isAuditType(type) ? [auditKindOf(type).means] : [];
  const shown = facts === undefined ? [`(${content})`] : said;
  const cells = [isoTime(event.recordedAt), type, event.actor.slice(0, 8), ...shown, ...why];
  return printable([...cells, ...words, ...means].join("  "));
}

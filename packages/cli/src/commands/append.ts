/**
 * `holdfast append`: one event from the command line, or a stream of drafts.
 *
 * With `--ndjson` every line is an append call of its own. Up to {@link callsInFlightMax} calls wait
 * together, so that what waits shares one commit; a line of output appears once its event is durable, in the
 * order of the input. Reading pauses while that many calls wait. A bad line ends the run: what came before it
 * is made durable and printed, then the error names the line.
 */
import { createReadStream } from "node:fs";
import {
  type AppendedEvent,
  type Draft,
  type Holdfast,
  HoldfastError,
  invariant,
  type JsonValue,
  limits,
  parseJson,
} from "@holdfast/core";
import { Command } from "commander";
import { type DraftDefaults, parseDraft } from "../draft.ts";
import { readLines } from "../lines.ts";
import type { Output } from "../output.ts";
import { UsageError, withStore } from "../store.ts";
import { contextOf } from "./options.ts";

const callsInFlightMax = 1_000;
/** Twice the largest event: JSON may be spelled longer than what is recorded of it. */
const lineBytesMax = 2 * limits.eventBytesMax;

interface AppendOptions {
  readonly type?: string;
  readonly stream?: string;
  readonly scope?: string;
  readonly actor?: string;
  readonly data?: string;
  readonly occurredAt?: string;
  readonly op?: string;
  readonly ref?: readonly string[];
  readonly why?: string;
  readonly reason?: string;
  readonly id?: string;
  readonly urgent?: boolean;
  readonly ndjson?: string;
}

export function appendCommand(): Command {
  return new Command("append")
    .description("record one event, or a stream of drafts (--ndjson)")
    .option("--type <type>", "event type, for example NosebleedRecorded")
    .option("--stream <words>", "what the event is about")
    .option("--scope <words>", "whom the data are about; default: the stream's scope")
    .option("--actor <words>", "on whose authority")
    .option("--data <json>", "payload")
    .option("--occurred-at <time>", "when it happened, ISO 8601 with an offset")
    .option("--op <operation>", "create (default), amend, retract, resolve, sign or review")
    .option("--ref <leaf...>", "leaves of the events that this one supersedes")
    .option("--why <code>", "reason code; needed to amend and to retract")
    .option("--reason <words>", "reason in words; kept encrypted")
    .option("--id <uuid>", "UUIDv7 of the event, for a draft that may be handed over twice")
    .option("--urgent", "deliver before what is not urgent")
    .option("--ndjson <file>", "read drafts, one JSON object a line; - is standard input")
    .action(async (_, command: Command) => {
      const { options, output } = contextOf<AppendOptions>(command);
      if (options.ndjson === undefined) {
        const draft = draftOf(options);
        await withStore(options, "write", async (store) =>
          print(output, await appendOne(store, draft)),
        );
        return;
      }
      const input = options.ndjson === "-" ? process.stdin : bytesOf(options.ndjson);
      if (options.data !== undefined)
        throw new UsageError("--data and --ndjson exclude each other.");
      await withStore(options, "write", (store) =>
        appendLines(store, input, output, defaultsOf(options)),
      );
    });
}

async function* bytesOf(path: string): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* createReadStream(path) as AsyncIterable<Uint8Array>;
  } catch (cause) {
    throw new HoldfastError("input_unreadable", { argument: "--ndjson" }, { cause });
  }
}

function defaultsOf({ type, stream, scope, actor }: AppendOptions): DraftDefaults {
  return {
    ...(type === undefined ? {} : { type }),
    ...(stream === undefined ? {} : { stream }),
    ...(scope === undefined ? {} : { scope }),
    ...(actor === undefined ? {} : { actor }),
  };
}

function draftOf(options: AppendOptions): Draft {
  for (const name of ["type", "stream", "actor", "data"] as const) {
    if (options[name] === undefined) throw new UsageError(`--${name} is needed, or --ndjson FILE.`);
  }
  const { occurredAt, op, ref, why, reason, id, urgent } = options;
  const rest = {
    ...defaultsOf(options),
    occurred_at: occurredAt,
    op,
    ref,
    why,
    reason,
    id,
    lane: urgent === true ? "urgent" : undefined,
  };
  return parseDraft(JSON.stringify({ ...rest, data: payloadOf(options.data ?? "") }));
}

/** The payload, read strictly: what is written back is what was said. */
export function payloadOf(text: string): JsonValue {
  try {
    return parseJson(text);
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    const path = `/data${String(error.details["path"] ?? "")}`;
    throw new HoldfastError(error.code, { ...error.details, path }, { cause: error });
  }
}

async function appendOne(store: Pick<Holdfast, "append">, draft: Draft): Promise<AppendedEvent> {
  const result = await store.append(draft);
  invariant(result.status === "appended", "without an expectation there is no conflict");
  const [event] = result.events;
  invariant(event !== undefined, "one draft gives one event");
  return event;
}

async function print(output: Output, event: AppendedEvent): Promise<void> {
  await output.row({ id: event.id, seq: event.sequence, leaf: event.leaf });
  const again = event.duplicate ? " (was recorded before)" : "";
  await output.say(`Recorded ${event.id} as number ${event.sequence}, leaf ${event.leaf}${again}.`);
}

type Failed = { readonly line: number; readonly error: unknown };
type Answer = { readonly event: AppendedEvent } | Failed;

/**
 * Appends each line of the input and prints its answer. Throws the first failure, with the line's number;
 * calls that were under way beside the failed one are durable too, and printed.
 */
export async function appendLines(
  store: Pick<Holdfast, "append">,
  input: AsyncIterable<Uint8Array>,
  output: Output,
  defaults: DraftDefaults,
): Promise<void> {
  const failure = Promise.withResolvers<Failed>();
  const run: { failed?: Failed } = {};
  const fail = (one: Failed): void => {
    run.failed ??= one;
    failure.resolve(one);
  };
  const queue = createQueue(callsInFlightMax);
  const printer = (async (): Promise<void> => {
    for (let answer = await queue.next(); answer !== undefined; answer = await queue.next()) {
      if ("event" in answer) await print(output, answer.event);
      else fail(answer);
      queue.done();
    }
  })();
  const lines = readLines(input, lineBytesMax);
  let number = 0;
  try {
    while (run.failed === undefined) {
      const next = await Promise.race([lines.next(), failure.promise]);
      if (!("value" in next) || next.done === true) break;
      number = next.value.number;
      // Checked before anything after it is read: a line that cannot be a draft stops the run at itself.
      const draft = parseDraft(next.value.bytes, defaults);
      await queue.push(answerOf(store, draft, number));
    }
  } catch (error) {
    const line = error instanceof HoldfastError ? error.details["line"] : undefined;
    fail({ line: typeof line === "number" ? line : number, error });
  }
  queue.end();
  await printer;
  if (run.failed !== undefined) throw atLine(run.failed);
}

async function answerOf(
  store: Pick<Holdfast, "append">,
  draft: Draft,
  line: number,
): Promise<Answer> {
  try {
    return { event: await appendOne(store, draft) };
  } catch (error) {
    return { line, error };
  }
}

function atLine({ line, error }: Failed): unknown {
  if (!(error instanceof HoldfastError)) return error;
  return new HoldfastError(error.code, { line, ...error.details }, { cause: error });
}

interface Queue {
  /** Adds a call; returns when there is room for another. */
  push(call: Promise<Answer>): Promise<void>;
  end(): void;
  /** The oldest call's answer; `undefined` at the end. */
  next(): Promise<Answer | undefined>;
  /** The answer was printed: its place is free. */
  done(): void;
}

/** Calls under way, oldest first, bounded. */
function createQueue(max: number): Queue {
  const calls: Promise<Answer>[] = [];
  let changed = Promise.withResolvers<void>();
  const input = { ended: false };
  const signal = (): void => {
    changed.resolve();
    changed = Promise.withResolvers();
  };
  return {
    async push(call) {
      calls.push(call);
      signal();
      while (calls.length >= max) await changed.promise;
    },
    end() {
      input.ended = true;
      signal();
    },
    async next() {
      while (calls.length === 0 && !input.ended) await changed.promise;
      return calls[0];
    },
    done() {
      void calls.shift();
      signal();
    },
  };
}

import {
  type ErrorCode,
  errorCodes,
  type SyncEngine,
  type SyncReport,
  type SyncState,
} from "@holdfast/core";
import { keepMemorySmall, syncStore, type TailKind } from "@holdfast/node";
import { Command, Option } from "commander";
import { withDesk } from "../desk.ts";
import { counted, exitCodes, type Output } from "../output.ts";
import { withStore } from "../store.ts";
import { contextOf } from "./options.ts";

interface SyncCommandOptions {
  readonly watch?: boolean;
  readonly url?: string;
  readonly tail?: TailKind;
}

/** `holdfast sync`: push and pull until nothing is left; `--watch` goes on until interrupted. */
export function syncCommand(): Command {
  return new Command("sync")
    .description(
      "send what waits and fetch what is new; exit code 1 unless everything is delivered",
    )
    .option("--watch", "go on after that: after commits, on hints, by timer, until interrupted")
    .option("--url <url>", "address of the server; default: the one that was enrolled at")
    .addOption(
      new Option(
        "--tail <kind>",
        "what carries hints with --watch: server-sent events, or a WebSocket where one can be had",
      )
        .choices(["sse", "websocket"])
        .default("sse"),
    )
    .action(async (_, command: Command) => {
      const { options, output } = contextOf<SyncCommandOptions>(command);
      const { url, tail = "sse" } = options;
      keepMemorySmall();
      await withStore(options, "write", async (store) => {
        const engine = syncStore(store, { tail, ...(url === undefined ? {} : { url }) });
        const interrupted = interruption();
        try {
          if (options.watch === true) await watch(engine, output, interrupted.signal);
          else await once(engine, output, interrupted.signal);
        } finally {
          interrupted.end();
          await engine.close();
        }
      });
    })
    .addCommand(resumeCommand());
}

interface ResumeOptions {
  readonly actor: string;
  readonly reason: string;
}

/** `holdfast sync resume`: ends a halt; who did it and why is kept beside the evidence. */
function resumeCommand(): Command {
  return new Command("resume")
    .description("end a halt after looking at its evidence; actor and reason are kept")
    .requiredOption("--actor <who>", "who decides it")
    .requiredOption("--reason <text>", "why sync may go on")
    .action(async (_, command: Command) => {
      const { options, output } = contextOf<ResumeOptions>(command);
      await withStore(options, "write", (store) =>
        withDesk(store, async (desk) => {
          const { halt } = desk.standing();
          await desk.resume(options.actor, options.reason);
          const code = halt?.code ?? "";
          await output.row({ resumed: code, actor: options.actor, reason: options.reason });
          await output.say(`The halt for ${code} is ended; sync goes on when it is asked next.`);
        }),
      );
    });
}

async function once(engine: SyncEngine, output: Output, signal: AbortSignal): Promise<void> {
  const report = await engine.syncNow(signal);
  await printReport(output, report, engine.state());
  if (report.status !== "drained") process.exitCode = exitCodes.checkFailed;
}

async function watch(engine: SyncEngine, output: Output, signal: AbortSignal): Promise<void> {
  let printed = Promise.resolve();
  const print = (state: SyncState): void => {
    printed = printed.then(async () => {
      await output.row(rowOf(state));
      await output.say(lineOf(state));
    });
  };
  const end = engine.subscribe(print);
  engine.start();
  // A timer keeps the process: what the engine waits for does not.
  const alive = setInterval(() => undefined, 60_000);
  await new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener("abort", () => {
      resolve();
    });
  });
  clearInterval(alive);
  end();
  await engine.cancel();
  await printed;
}

/** Set off by the first SIGINT or SIGTERM; the second one ends the process as usual. */
function interruption(): { readonly signal: AbortSignal; end(): void } {
  const controller = new AbortController();
  const stop = (): void => {
    end();
    controller.abort();
  };
  const end = (): void => {
    process.off("SIGINT", stop);
    process.off("SIGTERM", stop);
  };
  process.on("SIGINT", stop);
  process.on("SIGTERM", stop);
  return { signal: controller.signal, end };
}

function rowOf(state: SyncState) {
  const { waiting, dead, acknowledgedThrough, lastReceiptAt } = state.watermarks;
  return {
    push: state.push,
    pull: state.pull,
    connectivity: state.connectivity,
    waiting,
    dead,
    acknowledged_through: acknowledgedThrough,
    last_receipt_at: lastReceiptAt === undefined ? null : new Date(lastReceiptAt).toISOString(),
    last_failure: state.lastFailure ?? null,
    evidence: state.evidence ?? null,
  };
}

function lineOf(state: SyncState): string {
  const { waiting, dead } = state.watermarks;
  const failure = state.lastFailure === undefined ? "" : `, last failure ${state.lastFailure}`;
  return `push ${state.push}, pull ${state.pull}: ${waiting} wait, ${dead} dead${failure}`;
}

async function printReport(output: Output, report: SyncReport, state: SyncState): Promise<void> {
  const { pushed, pulled, rejected, status, failure } = report;
  await output.row({ status, pushed, pulled, rejected, failure: failure ?? null, ...rowOf(state) });
  const moved = `${counted(pushed, "event")} delivered, ${counted(pulled, "event")} fetched`;
  const refused = rejected === 0 ? "" : `, ${rejected} rejected`;
  const why = failure === undefined ? "" : ` (${failure})`;
  await output.say(`${status}${why}: ${moved}${refused}`);
  if (failure !== undefined && Object.hasOwn(errorCodes, failure)) {
    const { meaning, action } = errorCodes[failure as ErrorCode];
    await output.say(`  ${meaning}\n  ${action}`);
  }
}

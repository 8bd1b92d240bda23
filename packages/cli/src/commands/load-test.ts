/** `holdfast load-test`: its options. What it does is in `../load-test`, which no other command waits for. */
import { Command, InvalidArgumentError, Option } from "commander";
import type { LoadTestOptions } from "../load-test/command.ts";
import { suiteSummaries } from "../load-test/suite-names.ts";
import type { StoreOptions } from "../store.ts";
import { contextOf, position } from "./options.ts";

const notes = `
Suites: ${Object.entries(suiteSummaries)
  .map(([name, summary]) => `\n  ${name.padEnd(8)} ${summary}`)
  .join("")}

Without --server the project's own server runs in this process, over HTTP on this machine, behind a path that
delays each request by 50 ms and fails 5 % of them in the suite latency. A server that is named needs an enrolment
code, from --code-file, HOLDFAST_CODE or a prompt; it keeps what the test delivers: use one that is made for it.
The store is temporary unless --store names a new folder; HOLDFAST_STORE is not looked at.
A bound of --expect names a figure with its suite; p95<5000ms is one of latency. Exit code 1: a bound or a check failed.`;

/** The command. */
export function loadTestCommand(): Command {
  return new Command("load-test")
    .description("measure recording and delivery under load, and check stated bounds")
    .addOption(
      new Option("--suite <name...>", "suites to run; default: all").choices(
        Object.keys(suiteSummaries),
      ),
    )
    .option("--server <url>", "a server that runs; default: one in this process")
    .option("--code-file <file>", "file that holds the code to enrol at the server")
    .option(
      "--delay <ms>",
      "delay of each request in latency; default: 50, or 0 with --server",
      position,
    )
    .option(
      "--failing <percent>",
      "requests that fail in latency; default: 5, or 0 with --server",
      percent,
    )
    .option("--seed <number>", "chooses which requests fail", position, 1)
    .option("--quick", "tiny sizes, to try the command; the figures mean nothing")
    .option("--out <dir>", "folder for result.json and a plot of each suite as SVG")
    .option("--expect <bound...>", "bounds to keep, such as p95<5000ms or workers.lost<1")
    .option("--compare <file...>", "two results instead of a run: every figure and its ratio")
    .addHelpText("after", notes)
    .action(async (_, command: Command) => {
      const { options, output } = contextOf<LoadTestOptions>(command);
      const { compare, run } = await import("../load-test/command.ts");
      if (options.compare !== undefined) await compare(options.compare, output);
      else await run({ ...options, store: command.parent?.opts<StoreOptions>().store }, output);
    });
}

function percent(text: string): number {
  const value = Number(text);
  if (!/^\d+(\.\d+)?$/.test(text) || value > 50) {
    throw new InvalidArgumentError("A percentage from 0 to 50 is needed.");
  }
  return value;
}

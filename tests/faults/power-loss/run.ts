/**
 * Runs a workload under the recorder and opens the store in every crash state.
 *
 * The workload is a script that changes files below the folder that it is given and writes one line to
 * `<folder>/.ack` for each promise it makes ("this is durable"). The check opens the folder as the
 * application would and names every line whose promise is broken. States are written at the path of the
 * recording, so that a store that knows its place is not taken for a copy.
 */
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  realpathSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { runChild } from "../child.ts";
import { faultEnv, type IoFault } from "../io-errors.ts";
import { compilePreload, withScratch } from "../native.ts";
import { createDisk, type NameMode } from "./disk.ts";
import { decodeLog, type LogRecord } from "./log.ts";
import { crashStates, type CrashState, type WriteMode } from "./replay.ts";

export interface PowerLossOptions {
  /** Script and arguments of the workload over `folder`. It must end by itself with code 0. */
  readonly workload: (folder: string) => readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** A call that fails during the recording. With `KILL` the workload may die by it. */
  readonly fault?: IoFault;
  /** Fills the folder before the recording; what it leaves counts as durable. */
  readonly prepare?: (folder: string) => void | Promise<void>;
  /** Opens the crash state and returns what is wrong, empty when nothing is. A throw is a problem too. */
  readonly check: (
    folder: string,
    acknowledged: readonly string[],
    state: CrashState,
  ) => readonly string[] | Promise<readonly string[]>;
  /** States in total, shared among the name modes. Default 200, 2,000 with HOLDFAST_FULL=1. */
  readonly states?: number;
  readonly seed?: number;
  readonly nameModes?: readonly NameMode[];
  /** Drawn evenly; name one twice to weigh it double. */
  readonly writeModes?: readonly WriteMode[];
}

export interface PowerLossFailure {
  readonly index: number;
  readonly point: number;
  readonly writeMode: WriteMode;
  readonly nameMode: NameMode;
  readonly acknowledged: number;
  readonly problems: readonly string[];
}

export interface PowerLossReport {
  readonly states: number;
  readonly records: number;
  readonly syncs: number;
  /** Lines acknowledged in the whole run. */
  readonly acknowledged: number;
  readonly failures: readonly PowerLossFailure[];
  /** Of replaying and checking, without the recording. */
  readonly statesPerSecond: number;
}

const NAME_MODES: readonly NameMode[] = ["instant", "ext4", "strict"];
const DATA_MODES: readonly WriteMode[] = [
  "all",
  "none",
  "prefix",
  "prefix",
  "subset",
  "subset",
  "subset",
];

/** States of one run of the suite: a sample, or the full figure with HOLDFAST_FULL=1. */
export const powerLossStates = process.env["HOLDFAST_FULL"] === "1" ? 2_000 : 200;

/**
 * Records the workload once and checks crash states of that run. Throws when the workload fails, or when the
 * log holds no write or no acknowledgement: nothing would have been checked. With HOLDFAST_FAULTS_KEEP set the
 * folder with the log stays.
 */
export function runPowerLoss(options: PowerLossOptions): Promise<PowerLossReport> {
  return withScratch("power-loss", async (scratch) => {
    const base = realpathSync(scratch);
    const folder = join(base, "disk");
    mkdirSync(folder);
    await options.prepare?.(folder);
    const nameModes = options.nameModes ?? NAME_MODES;
    const disks = nameModes.map((nameMode) => ({ nameMode, disk: createDisk(folder, nameMode) }));
    const log = await recordWorkload(options, folder, join(base, "log"));
    const states = options.states ?? powerLossStates;
    const failures: PowerLossFailure[] = [];
    const started = performance.now();
    let checked = 0;
    for (const [i, { nameMode, disk }] of disks.entries()) {
      const share = Math.floor((states * (i + 1)) / disks.length) - checked;
      const seed = (options.seed ?? 1) + i;
      const writeModes = options.writeModes ?? DATA_MODES;
      for (const state of crashStates(log, { states: share, seed, nameMode, writeModes, disk })) {
        const failure = await checkState(options, folder, state);
        if (failure !== undefined) failures.push(failure);
      }
      checked += share;
    }
    return {
      states: checked,
      records: log.length,
      syncs: log.filter((record) => record.type === "sync").length,
      acknowledged: acknowledgedLines(log),
      failures,
      statesPerSecond: (checked * 1_000) / (performance.now() - started),
    };
  });
}

async function recordWorkload(
  options: PowerLossOptions,
  folder: string,
  logPath: string,
): Promise<readonly LogRecord[]> {
  const recorder = compilePreload("power-loss/recorder.c");
  const { fault } = options;
  const injected = fault === undefined ? undefined : faultEnv(fault, folder, `${logPath}.hit`);
  const result = await runChild({
    argv: options.workload(folder),
    env: {
      ...options.env,
      ...injected,
      // The recorder first: it then sees what came of the calls that the injector failed.
      LD_PRELOAD: injected === undefined ? recorder : `${recorder}:${injected.LD_PRELOAD}`,
      HOLDFAST_RECORD_ROOT: folder,
      HOLDFAST_RECORD_LOG: logPath,
    },
  });
  if (fault !== undefined && !existsSync(`${logPath}.hit`))
    throw new Error("the fault was not reached");
  const killed = fault?.error === "KILL" && result.signal === "SIGKILL";
  if (result.code !== 0 && !killed) {
    throw new Error(`the workload ended with ${result.code ?? result.signal}: ${result.stderr}`);
  }
  const log = decodeLog(readFileSync(logPath));
  if (!log.some((record) => record.type === "write")) throw new Error("no write was recorded");
  if (acknowledgedLines(log) === 0) throw new Error("no acknowledgement was recorded");
  return log;
}

function acknowledgedLines(log: readonly LogRecord[]): number {
  let lines = 0;
  for (const record of log) if (record.type === "ack") lines += record.text.split("\n").length - 1;
  return lines;
}

async function checkState(
  options: PowerLossOptions,
  folder: string,
  state: CrashState,
): Promise<PowerLossFailure | undefined> {
  state.writeTo(folder);
  let problems: readonly string[];
  try {
    problems = await options.check(folder, state.acknowledged, state);
  } catch (error) {
    problems = [`the check threw ${String(error)}`];
  }
  if (problems.length === 0) return undefined;
  const { index, point, writeMode, nameMode, acknowledged } = state;
  return { index, point, writeMode, nameMode, acknowledged: acknowledged.length, problems };
}

/** For workloads: opens the channel of acknowledgements of `folder`. Each call is one line, one record. */
export function openAcknowledgements(folder: string): {
  acknowledge(line: string): void;
  close(): void;
} {
  const descriptor = openSync(join(folder, ".ack"), "a");
  return {
    acknowledge: (line) => void writeSync(descriptor, `${line}\n`),
    close: () => closeSync(descriptor),
  };
}

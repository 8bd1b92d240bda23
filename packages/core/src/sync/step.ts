/**
 * What push and pull do next, as one pure function. Push and pull are two lanes, each with a state of its own:
 * neither's failure reaches the other. The table is total, and `spec/sync-states.md` shows every cell of it; a
 * test walks one against the other, in both directions.
 *
 * Names of phases and inputs are for that table; what an application sees is the coarser {@link LaneState}.
 * Every wait belongs to its phase: leaving the phase or waiting anew ends it.
 */
import { limits } from "../std/limits.ts";
import type { LaneState } from "./engine.ts";

/** Where a lane stands. In `running`, `woken`, `refreshing`, `refreshed`, `stopping`, `halting` work is under way. */
export type Phase =
  | "stopped"
  | "idle"
  /** An exchange is under way. */
  | "running"
  /** An exchange is under way, and another must follow it. */
  | "woken"
  /** A token was refused; a new one is asked for. */
  | "refreshing"
  /** An exchange is under way with a token that was just given: a second refusal is final. */
  | "refreshed"
  /** An exchange is being ended; nothing follows it. */
  | "stopping"
  /** An exchange is being ended, because the other lane found evidence. */
  | "halting"
  | "backing-off"
  /** The breaker of the endpoint is open. */
  | "open"
  | "needs-auth"
  | "halted";

/** How a failed exchange may be tried again; see `retryOf`. */
export type RetryClass = "now" | "after" | "auth" | "smaller" | "never" | "halt";

/** What happened. */
export type LaneInput =
  /** Automatic sync begins, or a person wants it to try again. */
  | { readonly kind: "start" }
  | { readonly kind: "stop" }
  /** There is something to do: a commit, a hint of the tail. */
  | { readonly kind: "wake" }
  /** A person asks for an exchange now. */
  | { readonly kind: "asked" }
  /** A wait is over. */
  | { readonly kind: "due" }
  /** The platform says that the network is back. */
  | { readonly kind: "online" }
  /** A person has looked at the evidence. */
  | { readonly kind: "resumed" }
  /** The other lane found evidence. */
  | { readonly kind: "halt" }
  | { readonly kind: "succeeded"; readonly more: boolean }
  | { readonly kind: "failed"; readonly class: RetryClass; readonly retryAfterMs?: number }
  | { readonly kind: "token-fresh" }
  | { readonly kind: "token-refused" }
  | { readonly kind: "breaker-open"; readonly waitMs: number }
  /** The exchange was ended by `abort`. */
  | { readonly kind: "cancelled" };

/** Columns of the table: inputs, told apart where the answer differs. */
export type InputKind =
  | Exclude<LaneInput["kind"], "succeeded" | "failed">
  | "succeeded"
  | "succeeded-more"
  | "failed-now"
  | "failed-smaller"
  | "failed-after"
  | "unauthorised"
  | "evidence";

/** What the engine does for a lane. */
export type LaneEffect =
  /** Begin an exchange; its end is one input. */
  | { readonly kind: "run" }
  /** End the exchange under way. */
  | { readonly kind: "abort" }
  /** Ask for a new token; the answer is one input. */
  | { readonly kind: "refresh-token" }
  /** Wait until there is something to do: the next due entry, the next poll. */
  | { readonly kind: "rest" }
  /** Wait as the backoff policy says, at least so long. */
  | { readonly kind: "back-off"; readonly failures: number; readonly atLeastMs: number }
  /** Wait until the breaker may let a probe through. */
  | { readonly kind: "wait-open"; readonly waitMs: number }
  /** Wait the longest backoff, then ask for a token again. */
  | { readonly kind: "wait-auth" };

/** State of one lane. */
export interface SyncLane {
  readonly phase: Phase;
  /** Failures since the last success: how far the backoff has grown. */
  readonly failures: number;
  /** Exchanges repeated at once since the last progress; bounded by `limits.syncImmediateMax`. */
  readonly immediate: number;
  /** Exchanges made smaller since the last progress; bounded by `limits.syncHalvingsMax`. */
  readonly halvings: number;
}

type Cell = readonly [next: Phase, ...effects: LaneEffect["kind"][]];
type Row = Readonly<Record<InputKind, Cell>>;

/** Every input, in the order of the page. */
export const inputKinds = [
  "start",
  "stop",
  "wake",
  "asked",
  "due",
  "online",
  "resumed",
  "halt",
  "succeeded",
  "succeeded-more",
  "failed-now",
  "failed-smaller",
  "failed-after",
  "unauthorised",
  "token-fresh",
  "token-refused",
  "breaker-open",
  "evidence",
  "cancelled",
] as const satisfies readonly InputKind[];

/** A row in which every input leads to the same cell. */
function always(...cell: Cell): Row {
  return Object.fromEntries(inputKinds.map((kind) => [kind, cell])) as unknown as Row;
}

/** The inputs that end the work under way all lead to the same cell; evidence never does. */
function ends(...cell: Cell): Partial<Row> {
  const ending = inputKinds.slice(inputKinds.indexOf("succeeded"));
  return Object.fromEntries(ending.map((kind) => [kind, cell]));
}

const whileIdle: Pick<Row, "stop" | "halt" | "evidence"> = {
  stop: ["stopped"],
  halt: ["halted"],
  evidence: ["halted"],
};

const whileRunning = {
  stop: ["stopping", "abort"],
  halt: ["halting", "abort"],
  "succeeded-more": ["running", "run"],
  "failed-now": ["running", "run"],
  "failed-smaller": ["running", "run"],
  "failed-after": ["backing-off", "back-off"],
  unauthorised: ["refreshing", "refresh-token"],
  "token-refused": ["needs-auth", "wait-auth"],
  "breaker-open": ["open", "wait-open"],
  evidence: ["halted"],
  cancelled: ["backing-off", "back-off"],
} as const satisfies Partial<Row>;

const table: Readonly<Record<Phase, Row>> = {
  stopped: {
    ...always("stopped"),
    start: ["running", "run"],
    asked: ["running", "run"],
    halt: ["halted"],
    evidence: ["halted"],
  },
  idle: {
    ...always("idle"),
    ...whileIdle,
    wake: ["running", "run"],
    asked: ["running", "run"],
    due: ["running", "run"],
    online: ["running", "run"],
  },
  running: {
    ...always("running"),
    ...whileRunning,
    wake: ["woken"],
    asked: ["woken"],
    succeeded: ["idle", "rest"],
  },
  woken: {
    ...always("woken"),
    ...whileRunning,
    succeeded: ["running", "run"],
    // Started again while a refresh or an exchange was being ended.
    "token-fresh": ["running", "run"],
    cancelled: ["running", "run"],
  },
  refreshing: {
    ...always("refreshing"),
    ...whileRunning,
    succeeded: ["refreshing"],
    "succeeded-more": ["refreshing"],
    "failed-now": ["backing-off", "back-off"],
    "failed-smaller": ["backing-off", "back-off"],
    unauthorised: ["needs-auth", "wait-auth"],
    "token-fresh": ["refreshed", "run"],
  },
  refreshed: {
    ...always("refreshed"),
    ...whileRunning,
    // What woke the lane meanwhile was not noted: look once more.
    succeeded: ["running", "run"],
    unauthorised: ["needs-auth", "wait-auth"],
  },
  stopping: {
    ...always("stopping"),
    ...ends("stopped"),
    start: ["woken"],
    asked: ["woken"],
    halt: ["halting"],
    evidence: ["halted"],
  },
  halting: { ...always("halting"), ...ends("halted"), resumed: ["stopping"], evidence: ["halted"] },
  "backing-off": {
    ...always("backing-off"),
    ...whileIdle,
    asked: ["running", "run"],
    due: ["running", "run"],
    online: ["running", "run"],
  },
  open: {
    ...always("open"),
    ...whileIdle,
    asked: ["running", "run"],
    due: ["running", "run"],
  },
  "needs-auth": {
    ...always("needs-auth"),
    ...whileIdle,
    start: ["running", "run"],
    asked: ["running", "run"],
    due: ["running", "run"],
  },
  halted: { ...always("halted"), resumed: ["stopped"] },
};

/** Every phase, in the order of the page. */
export const phases = Object.keys(table) as readonly Phase[];

const visible: Readonly<Record<Phase, LaneState>> = {
  stopped: "stopped",
  idle: "idle",
  running: "running",
  woken: "running",
  refreshing: "running",
  refreshed: "running",
  stopping: "running",
  halting: "running",
  "backing-off": "backing-off",
  open: "open",
  "needs-auth": "needs-auth",
  halted: "halted",
};

/** A lane that was never started, or one that a person must look at first. */
export function createSyncLane(phase: "stopped" | "halted" = "stopped"): SyncLane {
  return { phase, failures: 0, immediate: 0, halvings: 0 };
}

/** What an application sees of a phase. */
export function laneState({ phase }: SyncLane): LaneState {
  return visible[phase];
}

/** Is an exchange or a refresh under way? */
export function isActive({ phase }: SyncLane): boolean {
  return visible[phase] === "running";
}

/** The column of the table: repeating at once turns into waiting when it was done too often. */
export function inputKind(lane: SyncLane, input: LaneInput): InputKind {
  if (input.kind === "succeeded") return input.more ? "succeeded-more" : "succeeded";
  if (input.kind !== "failed") return input.kind;
  const spent = lane.immediate >= limits.syncImmediateMax;
  if (input.class === "halt") return "evidence";
  if (input.class === "smaller") {
    return lane.halvings >= limits.syncHalvingsMax ? "failed-after" : "failed-smaller";
  }
  if (input.class === "now") return spent ? "failed-after" : "failed-now";
  const first = lane.phase === "running" || lane.phase === "woken";
  if (input.class === "auth") return spent && first ? "failed-after" : "unauthorised";
  return "failed-after";
}

/** The next state of a lane, and what is to be done. Total: every phase answers every input. */
export function step(
  lane: SyncLane,
  input: LaneInput,
): { readonly lane: SyncLane; readonly effects: readonly LaneEffect[] } {
  const kind = inputKind(lane, input);
  const [phase, ...effects] = table[lane.phase][kind];
  const next = { phase, ...counted(lane, phase, kind) };
  return { lane: next, effects: effects.map((effect) => effectOf(effect, next, input)) };
}

function counted(lane: SyncLane, next: Phase, kind: InputKind): Omit<SyncLane, "phase"> {
  const { failures, immediate, halvings } = lane;
  if (!isActive(lane)) return { failures, immediate, halvings };
  if (kind === "succeeded-more") return { failures: 0, immediate: 0, halvings: 0 };
  if (kind === "succeeded") {
    return { failures: 0, immediate: next === "idle" ? 0 : immediate, halvings: 0 };
  }
  if (next === "backing-off") return { failures: failures + 1, immediate: 0, halvings: 0 };
  const again = kind === "failed-now" || kind === "unauthorised" ? 1 : 0;
  const halved = kind === "failed-smaller" ? 1 : 0;
  return { failures, immediate: immediate + again, halvings: halvings + halved };
}

function effectOf(kind: LaneEffect["kind"], lane: SyncLane, input: LaneInput): LaneEffect {
  switch (kind) {
    case "back-off": {
      const atLeastMs = input.kind === "failed" ? (input.retryAfterMs ?? 0) : 0;
      return { kind, failures: lane.failures, atLeastMs };
    }
    case "wait-open":
      return { kind, waitMs: input.kind === "breaker-open" ? input.waitMs : 0 };
    default:
      return { kind };
  }
}

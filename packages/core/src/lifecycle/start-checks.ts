/**
 * Start-up checks: what must hold before anybody writes to a store, as one report. Pure: a platform looks, this
 * module judges. `openStore` refuses by the same facts with the same codes; a report names them all at once, and
 * what to do.
 *
 * | Status | Means |
 * | --- | --- |
 * | `ready` | it may be opened for writing; findings, if any, mend themselves or can wait |
 * | `needs-migration` | an earlier format, which the first writer lifts, or a lift that it takes to its end |
 * | `needs-recovery` | something that belongs to the store is lost or damaged; nothing is recreated |
 * | `blocked` | this build, or this place, must not write to it |
 */
import { type ErrorCode, errorCodes } from "../std/errors.ts";

/** Verdict on a start. */
export type StartStatus = "ready" | "needs-migration" | "needs-recovery" | "blocked";

/** What was looked at. */
export const startChecks = [
  "release",
  "folder",
  "keyring",
  "keys",
  "database",
  "format",
  "tables",
  "history",
  "registry",
  "operations",
] as const;
/** Name of one check. */
export type StartCheck = (typeof startChecks)[number];

/** Something that a check found. `code` is one of {@link errorCodes}, or of the findings of status and verify. */
export interface StartFinding {
  readonly check: StartCheck;
  readonly code: string;
  /** What it is about: a table, a type, a copy. Never content. */
  readonly object?: string;
}

/** What an operator is told. */
export interface StartReport {
  readonly status: StartStatus;
  readonly findings: readonly (StartFinding & { readonly severity: Severity })[];
  /** What to do, once each, the most pressing first. */
  readonly actions: readonly string[];
  /** Checks that could not be made, because an earlier one did not hold. */
  readonly skipped: readonly StartCheck[];
}

type Severity = "note" | StartStatus;

/** Codes that stop a start, by what they need; any other code that stops one is judged by its check. */
const severities: Readonly<Record<string, Severity>> = {
  store_older: "needs-migration",
  migration_interrupted: "needs-migration",
  salvage_interrupted: "needs-recovery",
  release_mixed: "blocked",
  store_newer: "blocked",
  keyring_newer: "blocked",
  store_missing: "blocked",
  store_unsafe_path: "blocked",
  keyring_unsafe_file: "blocked",
  store_foreign: "blocked",
  keyring_foreign: "blocked",
  key_wrong: "blocked",
  key_provider_unavailable: "blocked",
  erase_unfinished: "blocked",
  erase_plan_unreadable: "blocked",
  store_busy: "note",
  sqlite_unsafe: "blocked",
  pragma_refused: "blocked",
  encryption_missing: "blocked",
  store_io_error: "blocked",
  store_full: "blocked",
  store_read_only: "blocked",
  event_type_unknown: "blocked",
  event_type_newer: "blocked",
  event_type_foreign_unknown: "note",
  store_database_missing: "needs-recovery",
  store_corrupt: "needs-recovery",
  store_drifted: "needs-recovery",
  store_rolled_back: "needs-recovery",
  store_rewritten: "needs-recovery",
  keyring_missing: "needs-recovery",
  keyring_corrupt: "needs-recovery",
  keyring_salt_missing: "needs-recovery",
  keyring_record_missing: "needs-recovery",
  keyring_too_large: "needs-recovery",
  key_unwrap_failed: "needs-recovery",
  key_parameters_refused: "needs-recovery",
  section_unopened: "needs-recovery",
};

const orders: readonly Severity[] = [
  "note",
  "ready",
  "needs-migration",
  "needs-recovery",
  "blocked",
];

/** What to do about findings that are no error codes. */
const actions: Readonly<Record<string, string>> = {
  keyring_copy_missing: "None: the next write restores the copy of the keyring.",
  keyring_copy_stale: "None: the next write replaces the stale copy of the keyring.",
  keyring_line_damaged: "None: the next write takes the line from the other copy.",
  keyring_line_torn: "None: a crash left it; the next write drops it.",
  keyring_line_missing: "None: the next write adds the line to that copy.",
  keyring_record_invalid: "Run verify: a record of the keyring was changed.",
  mark_missing: "None: the next write opens a new incarnation.",
  mark_damaged: "None: the other slot of the high-water mark serves.",
  store_moved: "None: the next write opens a new incarnation.",
  store_cloned: "Make sure that only one of the two copies is used from now on.",
  event_type_foreign_unknown:
    "Use a release that knows the types; until then their events are kept and passed over.",
  event_type_newer: "Use the release that recorded these events, or a later one.",
  event_type_unknown:
    "Start the application that recorded these events, with all its event types registered.",
  migration_interrupted:
    "None: the next writer takes the migration to its end; or run `holdfast migrate apply`.",
  salvage_interrupted: "None: whoever opens the store next finishes the salvage.",
  rotation_interrupted: "None: the rotation goes on with the next writer.",
  read_model_unfinished: "None: the next writer builds it to the end.",
  recovery_key_absent: "Add a recovery key: keys recovery add.",
};

function actionOf(code: string): string {
  const own = actions[code];
  if (own !== undefined) return own;
  return Object.hasOwn(errorCodes, code)
    ? errorCodes[code as ErrorCode].action
    : "See the runbook.";
}

function severityOf({ code, check }: StartFinding): Severity {
  const known = severities[code];
  if (known !== undefined) return known;
  // A code that nobody foresaw stops a start where it came from opening something.
  const isError = Object.hasOwn(errorCodes, code);
  return isError && check !== "operations" ? "blocked" : "note";
}

/** The report on what was found. */
export function judgeStart(
  found: readonly StartFinding[],
  skipped: readonly StartCheck[] = [],
): StartReport {
  const findings = found
    .map((finding) => ({ ...finding, severity: severityOf(finding) }))
    .toSorted((a, b) => orders.indexOf(b.severity) - orders.indexOf(a.severity));
  const worst = findings[0]?.severity ?? "ready";
  return {
    status: worst === "note" ? "ready" : worst,
    findings,
    actions: [...new Set(findings.map(({ code }) => actionOf(code)))],
    skipped,
  };
}

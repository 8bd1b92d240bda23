/**
 * Every error code of Holdfast, once, with what it means and what to do.
 *
 * Three kinds of bad news are never mixed: what a caller decides on is data in the return type, what went
 * wrong in operation is a {@link HoldfastError} with a code from this table, and a bug is an assertion
 * ({@link invariant}). Codes are never renamed or reused. Messages and details never hold payloads, names
 * of people, or key material.
 */
import { keyCodes } from "./key-codes.ts";
import { outboxCodes } from "./outbox-codes.ts";
import { syncCodes } from "./sync-codes.ts";
import { replicaCodes } from "./replica-codes.ts";
import { serverCodes } from "./server-codes.ts";
import { wireCodes } from "./wire-codes.ts";
import { accessCodes } from "./access-codes.ts";
import { backendCodes } from "./backend-codes.ts";
import { backupCodes } from "./backup-codes.ts";
import { eraseCodes } from "./erase-codes.ts";
import { shredCodes } from "./shred-codes.ts";
import { migrationCodes } from "./migration-codes.ts";

/** What an operator reads about a code: its meaning, and what to do next. */
export interface ErrorExplanation {
  readonly meaning: string;
  readonly action: string;
}

/** Every error code with its meaning and what to do; the runbook is made from it. */
export const errorCodes = {
  // Input: text and values
  json_malformed: {
    meaning: "The text is not JSON.",
    action: "Correct the text at the offset named in the details.",
  },
  json_duplicate_key: {
    meaning: "An object names one key twice; two readers could disagree on its value.",
    action: "Remove one of the two.",
  },
  json_too_deep: {
    meaning: "Arrays and objects are nested deeper than the limit.",
    action: "Flatten the value; the limit is jsonDepthMax.",
  },
  json_lone_surrogate: {
    meaning: "A string holds half of a surrogate pair, which has no UTF-8 form.",
    action: "Correct the text at the path named in the details.",
  },
  json_nul: {
    meaning: "A string holds U+0000, which databases and C programs cut strings at.",
    action: "Remove the character at the path named in the details.",
  },
  json_unsafe_number: {
    meaning:
      "A number is not finite, is negative zero, or is an integer that a double cannot hold exactly.",
    action: "Send such a number as a string.",
  },
  json_forbidden_key: {
    meaning: "The key __proto__ is refused: some readers would change an object's prototype.",
    action: "Rename the key.",
  },
  json_not_plain: {
    meaning: "A value has no JSON form (undefined, function, bigint, class instance, cycle).",
    action: "Convert the value at the path named in the details before it is recorded.",
  },
  json_too_large: {
    meaning: "The text is longer than one piece of JSON may be.",
    action: "Split the text into smaller pieces; the limit is jsonTextBytesMax.",
  },
  utf8_malformed: {
    meaning: "The bytes are not UTF-8.",
    action: "Send UTF-8 without a byte order mark.",
  },

  // Events
  event_type_invalid: {
    meaning: "The declaration of an event type contradicts itself.",
    action: "Correct the declaration; the details name the part.",
  },
  event_type_duplicate: {
    meaning: "Two declarations share the name of an event type.",
    action: "Names are permanent: give the new type another one.",
  },
  event_type_unknown: {
    meaning: "The draft names an event type that is not registered.",
    action: "Register the type, or correct its name.",
  },
  payload_invalid: {
    meaning: "The payload does not fit the schema of its event type.",
    action: "Correct the field at the path named in the details.",
  },
  header_invalid: {
    meaning:
      "The text is not a header of the sealed form; the details name the place and the rule.",
    action:
      "Refuse it. In a log of your own, run verify: the store was altered or written by other software.",
  },
  payload_unreadable: {
    meaning: "A recorded payload cannot be lifted to the current schema version.",
    action: "Correct the upcaster or the schema; the recorded event is unharmed.",
  },

  // Projections
  projection_invalid: {
    meaning: "The declaration of a projection names something that cannot be a table or a column.",
    action: "Use lower case letters, digits and underscores.",
  },
  model_unknown: {
    meaning: "There is no read model of that name.",
    action: "Register its projection when the store is opened, or correct the name.",
  },
  query_invalid: {
    meaning: "The query names a field that is not a declared column, or a value of the wrong type.",
    action: "Declare the column in the projection, or correct the query.",
  },

  // Cryptography
  key_malformed: {
    meaning: "A private key is not the PKCS#8 form of its algorithm.",
    action:
      "Restore the key from its provider or backup; check that the algorithm is the one it was made for.",
  },

  ...keyCodes,

  // Proof: trees, notes, checkpoints, envelopes
  proof_source_short: {
    meaning:
      "The store answered with fewer leaves or tile roots than the tree's size says, or other rows.",
    action: "Run verify: rows of the log are missing. Restore them from a backup.",
  },
  note_malformed: {
    meaning: "The text is not a C2SP signed note; the details name the reason.",
    action: "Fetch or restore the note again; it was cut or edited on its way.",
  },
  note_key_ambiguous: {
    meaning: "Two different trusted keys share one name and key id, so a signature names neither.",
    action: "Remove one of the two keys, or rename it.",
  },
  vkey_malformed: {
    meaning: "The text or key is not a verifier key of a signed note; the details name the reason.",
    action: "Copy the whole verifier key again: name+id+key.",
  },
  checkpoint_malformed: {
    meaning: "The text is not the three lines of a checkpoint: origin, size, root hash.",
    action: "Fetch or restore the checkpoint again; the details name the part that is wrong.",
  },
  dsse_malformed: {
    meaning: "The text is not a DSSE envelope in its canonical form; the details name the reason.",
    action: "Fetch the document again; it was cut or edited on its way.",
  },

  // Drafts and appends
  draft_invalid: {
    meaning: "A draft lacks a part that every event needs, or a part has the wrong form.",
    action: "Correct the part named in the details.",
  },
  event_too_large: {
    meaning: "The header or the whole event is larger than the limit.",
    action: "Record less in one event; the details name part, bytes and limit.",
  },
  batch_too_large: {
    meaning: "One append call holds more events or bytes than one commit takes.",
    action: "Split the call; the details name the limit.",
  },
  event_id_conflict: {
    meaning: "The id is already recorded with other content.",
    action: "Give the draft an id of its own. An id stands for one event for ever.",
  },
  event_not_found: {
    meaning: "No event of this store has that id or leaf.",
    action: "Check the id; the event may not have been pulled yet.",
  },
  stream_scope_conflict: {
    meaning: "The stream belongs to another scope; a stream belongs to one scope for ever.",
    action: "Leave the scope out, or use another stream.",
  },
  vector_too_large: {
    meaning: "More device logs take part in the stream's frontier than a version vector holds.",
    action: "Settle the stream's open conflicts, then append again.",
  },

  section_unopened: {
    meaning:
      "A section of a recorded event cannot be opened: its frame was altered, or its key is not here.",
    action: "Run verify; the details name the event. Restore the keyring or a backup.",
  },

  // Commands
  command_refused: {
    meaning: "The application's own rules refuse the command; the details name the reason.",
    action: "Tell the person who gave it why; nothing was recorded.",
  },

  // Stores
  store_missing: {
    meaning: "There is no store in that folder.",
    action: "Check the folder; make a new store with init.",
  },
  store_exists: {
    meaning: "The folder is not empty; a new store is made in an empty folder only.",
    action: "Open the store that is there, or choose an empty folder.",
  },
  store_database_missing: {
    meaning: "The keyring is there and the database is not. Nothing was recreated.",
    action: "Put the database back, or restore a backup.",
  },
  store_foreign: {
    meaning: "The file is not a store of this keyring, or not a Holdfast store at all.",
    action: "Check the folder; the files of two stores may have been mixed.",
  },
  store_newer: {
    meaning: "The store was written in a newer format.",
    action: "Use a release that knows this format. Nothing was changed.",
  },
  store_older: {
    meaning: "The store was written in an earlier format, which reading alone does not lift.",
    action:
      "Open it once for writing (any command that records) or run `holdfast migrate apply`; nothing is lost.",
  },
  store_drifted: {
    meaning: "Tables, indices or triggers differ from what this format has.",
    action:
      "Run `holdfast recover`: it makes them again and keeps every event. The details name the first difference.",
  },
  store_corrupt: {
    meaning: "A page of the database fails its authentication or its structure.",
    action:
      "Stop writing and run `holdfast recover`: it copies the store aside, keeps what verifies, and names the rest.",
  },
  store_io_error: {
    meaning: "The medium failed to read or write.",
    action:
      "Check disk and cables; what was acknowledged is kept. Writing resumes by itself when it works.",
  },
  store_full: {
    meaning:
      "There is no space left. Nothing of this call was recorded; what was acknowledged is kept.",
    action: "Free some space; writing resumes by itself.",
  },
  store_read_only: {
    meaning: "The store was opened for reading, or its medium cannot be written.",
    action: "Open it for writing, or remove the write protection.",
  },
  store_busy: {
    meaning: "Another process writes to the store and did not give way in time.",
    action: "Try again, or stop the process named in the details.",
  },
  store_constraint: {
    meaning: "The database refused a row that contradicts what it holds.",
    action: "Run verify and report this as a bug: the writer should have refused it before.",
  },
  store_closed: {
    meaning: "The store was closed.",
    action: "Open it again.",
  },
  store_overloaded: {
    meaning: "More append calls wait for the writer than the queue holds.",
    action: "Wait for answers before appending more.",
  },
  store_rolled_back: {
    meaning:
      "The store holds less than its high-water mark says: an older copy was put in place, or its tail was removed.",
    action:
      "Put the newest copy back. To go on from the older one, open with acceptRollback (--accept-rollback): a new incarnation then records the fact.",
  },
  store_rewritten: {
    meaning:
      "The store's history is not the one that its high-water mark or its last note attests.",
    action:
      "Copy the folder aside as evidence, run verify, then restore a backup or run `holdfast recover`.",
  },
  store_unsafe_path: {
    meaning: "The store's folder or one of its files is a symbolic link or not a regular file.",
    action: "Name the real folder; links are refused because they can be redirected.",
  },
  lease_lost: {
    meaning: "Another process took the lease over while this one was away.",
    action: "None: the writer takes the lease again and seals anew.",
  },
  sqlite_unsafe: {
    meaning: "This SQLite has a bug that corrupts databases (before 3.51.3, or 3.52.0).",
    action: "Update the driver.",
  },
  pragma_refused: {
    meaning: "SQLite did not take a setting that durability or secrecy depends on.",
    action: "Check the driver and the file system; network file systems cannot hold a store.",
  },
  database_unreachable: {
    meaning: "The database did not let the server in: its address, database, role or password.",
    action: "Check database_url, and that the role may log in from this machine.",
  },
  database_setting_refused: {
    meaning: "PostgreSQL did not take a setting that durability or isolation depends on.",
    action:
      "The details name it. fsync and full_page_writes must be on; the role must be a member of holdfast_app and the server must be able to work in it.",
  },
  durability_unmet: {
    meaning:
      "The durability that the configuration promises is not there: no synchronous standby is connected.",
    action:
      "Bring a standby back, check synchronous_standby_names, or set durability to local by decision. Nothing was acknowledged.",
  },
  encryption_missing: {
    meaning: "The driver does not encrypt, or the file on the medium is readable without the key.",
    action: "Use the driver with page encryption. Nothing was recorded.",
  },

  // Read models
  conflict_not_open: {
    meaning: "The stream has no open conflict to settle.",
    action: "List the conflicts again: another device may have settled it.",
  },
  projection_impure: {
    meaning: "Folding the same events again gave another row: the fold is not a pure function.",
    action:
      "Remove clocks, chance and outside state from the fold and raise the projection's version.",
  },
  model_stale: {
    meaning: "The read model was built by another version of its projection or registry.",
    action: "Open the store for writing once: it is then built anew.",
  },

  // Exports
  export_model_incomplete: {
    meaning:
      "A read model that the export needs stopped at an event, or lacks events that this version cannot read.",
    action:
      "See status; rebuild the read model, or use a version that knows the events. Nothing was written.",
  },
  output_exists: {
    meaning: "The file to write is there already.",
    action: "Name another file, or move the old one away. Nothing was written.",
  },
  output_unwritable: {
    meaning: "The file named with --out cannot be written.",
    action: "Check its folder, its permissions and the free space; no part of it is left behind.",
  },

  // Wire form and the command line
  wire_invalid: {
    meaning: "JSON of an event has a field of the wrong form.",
    action: "Correct the field at the path named in the details.",
  },
  passphrase_missing: {
    meaning: "A passphrase is needed and there is none.",
    action:
      "Type it at the prompt, set HOLDFAST_PASSPHRASE, or name a file with --passphrase-file.",
  },
  passphrase_mismatch: {
    meaning: "The two passphrases typed are not the same.",
    action: "Type them again.",
  },
  input_unreadable: {
    meaning: "A file named on the command line cannot be read.",
    action: "Check its name and its permissions; the details name the place on the command line.",
  },
  line_too_large: {
    meaning: "A line of the input is longer than the limit.",
    action: "Send one draft a line; the details name the line and the limit.",
  },
  load_test_process_failed: {
    meaning: "A process of the load test failed or ended before its work was done.",
    action: "See the code in the details; run the suite alone, with more memory or time to spare.",
  },

  // Sync
  ...syncCodes,
  ...replicaCodes,
  ...outboxCodes,
  ...accessCodes,
  ...wireCodes,
  ...backendCodes,
  ...serverCodes,

  // Custody
  ...backupCodes,
  ...shredCodes,

  ...eraseCodes,
  ...migrationCodes,

  // Import of FHIR bundles
  fhir_bundle_invalid: {
    meaning: "The text is JSON but not a FHIR R4 bundle of resources.",
    action:
      "Correct the element at the path named in the details; nothing of the file was recorded.",
  },
  fhir_resource_invalid: {
    meaning: "A resource of the bundle cannot be recorded as it is.",
    action:
      "Correct the resource at the path named in the details; nothing of the file was recorded.",
  },
  fhir_resource_type_unknown: {
    meaning: "A resource names a type that FHIR R4 does not have.",
    action: "Correct resourceType at the path named in the details, or convert the bundle to R4.",
  },
  fhir_unsupported: {
    meaning:
      "A bundle entry asks for a deletion, a patch, a search or another act that is not a record.",
    action: "Take the entry out; withdraw a recorded resource by an event with op retract.",
  },
  fhir_subject_changed: {
    meaning:
      "A changed resource names another patient than before; its stream belongs to the first one.",
    action: "Retract the recorded resource and import the corrected one under a new id.",
  },
  fhir_stream_contended: {
    meaning: "Other writers changed the same resource again and again during the import.",
    action: "Import the file again: what is recorded is recognised, the rest follows.",
  },
} as const satisfies Readonly<Record<string, ErrorExplanation>>;

/** The name of one kind of failure; stable for ever. */
export type ErrorCode = keyof typeof errorCodes;

/** Facts about one failure: identifiers, counts, offsets and paths, never content. */
export type ErrorDetails = Readonly<Record<string, string | number | boolean | null>>;

/** A failure in operation. `code` is the stable part; the message adds where and how much. */
export class HoldfastError extends Error {
  override readonly name = "HoldfastError";
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(
    code: ErrorCode,
    details: ErrorDetails = {},
    options: { readonly cause?: unknown } = {},
  ) {
    const { meaning, action } = errorCodes[code] as ErrorExplanation;
    const facts = Object.entries(details)
      .map(([key, value]) => `${key}=${String(value)}`)
      .join(" ");
    super(`${code}: ${meaning} ${action}${facts === "" ? "" : ` [${facts}]`}`, options);
    this.code = code;
    this.details = details;
  }
}

/** Is this the failure with that code? Without a code: is it one of ours at all? */
export function isHoldfastError(error: unknown, code?: ErrorCode): error is HoldfastError {
  return error instanceof HoldfastError && (code === undefined || error.code === code);
}

const mediumFailures: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "store_full",
  "store_read_only",
  "store_io_error",
]);

/** Is it a medium that cannot be written just now (`store_full`, `store_read_only`, `store_io_error`)? */
export function isMediumFailure(error: unknown): error is HoldfastError {
  return isHoldfastError(error) && mediumFailures.has(error.code);
}

/** A broken assertion: a bug in this software. Stays on in production. */
export class InvariantError extends Error {
  override readonly name = "InvariantError";
}

/** Stop at once when a fact that must hold does not. The text names the fact, never content. */
export function invariant(fact: unknown, text: string): asserts fact {
  if (!fact) throw new InvariantError(text);
}

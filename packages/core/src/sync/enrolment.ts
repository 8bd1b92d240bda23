/** Enrolling a store: what it presents, and what it keeps of the answer. */
import type { ServerIdentity } from "./sync-store.ts";
import type { Keyring } from "../keys/keyring.ts";
import { deviceLogOrigin } from "../proof/checkpoint.ts";
import { openSignedCheckpoint, parseServerLogOrigin, publicKeyOf } from "../proof/server-key.ts";
import { checkProvenLeaf, parseStatement } from "../proof/server-leaf.ts";
import { createHashSource } from "../proof/tiles.ts";
import { leafHash, proveInclusion } from "../proof/tree.ts";
import { base64, base64url, fromBase64, utf8 } from "../std/bytes.ts";
import { HoldfastError, invariant, isHoldfastError } from "../std/errors.ts";
import type { Crypto } from "../std/ports.ts";
import type { SqliteEventLog } from "../store/sqlite-event-log.ts";
import type { EnrolAnswer, EnrolRequest } from "./messages/enrol.ts";
import type { Hello } from "./messages/hello.ts";
import { keepCheckpoint } from "./server-log-view.ts";
import type { KnownLog, SyncTables } from "./sync-tables.ts";

export interface EnrolmentDeps {
  readonly crypto: Crypto;
  readonly keyring: Pick<Keyring, "tenant">;
  readonly tables: SyncTables;
}

/** Opening, newest note and path of index 0 of that own log. */
export function enrolmentOf(
  { crypto, tables }: EnrolmentDeps,
  log: SqliteEventLog,
  own: KnownLog,
): Omit<EnrolRequest, "proof" | "binding"> {
  const { number, device, incarnation } = own;
  const opening = tables.opening(number);
  const note = tables.noteWithin(number, Number.MAX_SAFE_INTEGER);
  invariant(opening !== undefined && note !== undefined, "an own log has an opening and a note");
  const hashOf = createHashSource(crypto, log.leafSource(device, incarnation), note.size);
  return { opening, note: note.note, path: proveInclusion(crypto, 0, note.size, hashOf) };
}

/** What is kept of an enrolment, in the caller's transaction. Throws `server_enrolment_wrong`. */
export function keepEnrolment(
  deps: EnrolmentDeps,
  own: KnownLog,
  told: {
    readonly url: string;
    readonly hello: Hello;
    readonly answer: EnrolAnswer;
    readonly fingerprint: string;
  },
): ServerIdentity {
  const { crypto, tables } = deps;
  const { url, hello, answer, fingerprint } = told;
  const spki = fromBase64(hello.key);
  const key = publicKeyOf(hello.key);
  if (spki === undefined || key === undefined) wrong("key");
  if (base64url(crypto.sha256(spki)) !== fingerprint) wrong("fingerprint");
  if (answer.tenant !== deps.keyring.tenant || answer.device !== own.device) wrong("device");
  const checkpoint = openSignedCheckpoint(crypto, answer.checkpoint, key);
  const log = parseServerLogOrigin(checkpoint?.origin ?? "");
  if (checkpoint === undefined || log?.shard.startsWith(`${hello.host}/`) !== true) {
    return wrong("checkpoint");
  }
  checkStatement(deps, own, answer, checkpoint);
  const { host } = hello;
  const { founder, node, role } = answer;
  const known = tables.server();
  const held = tables.checkpoint();
  // A second enrolment begins a chain only at another server: at the same one sync goes on from what is held, and
  // follows it into other logs.
  const goesOn = held !== undefined && known?.host === host && known.key === hello.key;
  const followed = goesOn ? held.log : checkpoint.origin;
  const server = { url, host, key: hello.key, log: followed, founder, node, role };
  tables.put("server", JSON.stringify(server));
  if (!goesOn && held?.log !== checkpoint.origin) {
    const note = answer.checkpoint;
    keepCheckpoint(tables, { checkpoint, note, before: 0, path: [], isNew: true });
  }
  if (tables.checkpointNote(checkpoint.origin, checkpoint.size) !== undefined) {
    const leaf = answer.enrolment;
    tables.keepLeaf({ log: own.number, kind: "enrol", size: 1, leaf, tree: checkpoint });
  }
  return server;
}

function checkStatement(
  { crypto, keyring, tables }: EnrolmentDeps,
  own: KnownLog,
  { enrolment }: EnrolAnswer,
  checkpoint: { readonly size: number; readonly root: Uint8Array },
): void {
  const { device, incarnation, number } = own;
  const opening = tables.opening(number) ?? "";
  try {
    const statement = parseStatement(enrolment.text);
    const agrees =
      checkProvenLeaf(crypto, enrolment, checkpoint) &&
      statement.kind === "enrol" &&
      statement.origin === deviceLogOrigin({ tenant: keyring.tenant, device, incarnation }) &&
      statement.size === 1 &&
      statement.root === base64(leafHash(crypto, utf8(opening)));
    if (!agrees) wrong("enrolment");
  } catch (error) {
    if (isHoldfastError(error, "server_leaf_malformed")) wrong("enrolment");
    throw error;
  }
}

function wrong(part: string): never {
  throw new HoldfastError("server_enrolment_wrong", { part });
}

/**
 * The server log as this replica follows it: checkpoints under one pinned key, each a continuation of the one
 * before. What is judged here is pure; whoever stores it does so in one transaction with what the checkpoint
 * proves.
 *
 * A checkpoint of another log of the server proves nothing by itself: how that log goes on for the one that is held
 * is asked and judged first (`judge-epoch.ts`). Two exchanges that run side by side both continue the checkpoint
 * that they named; the second to arrive is `overtaken` and asked again, because nobody can join its checkpoint to
 * the first one's. So is an answer that was under way while the log went on in another.
 */
import { logStep } from "../proof/check-epoch.ts";
import { type Checkpoint } from "../proof/checkpoint.ts";
import { openSignedCheckpoint, publicKeyOf } from "../proof/server-key.ts";
import { checkConsistency } from "../proof/tree.ts";
import { base64, type Bytes, equalBytes } from "../std/bytes.ts";
import type { ErrorCode } from "../std/errors.ts";
import type { Crypto } from "../std/ports.ts";
import type { FormerLog } from "./server-log-steps.ts";
import type { ServerIdentity } from "./sync-store.ts";
import type { HeldCheckpoint, SyncTables } from "./sync-tables.ts";

/** What is known of the server log. */
export interface ServerLogView {
  readonly crypto: Crypto;
  readonly server: Pick<ServerIdentity, "key" | "log">;
  readonly held: HeldCheckpoint | undefined;
  /** A log that another one went on for; `undefined`: this replica never followed it. */
  former(log: string): FormerLog | undefined;
}

/** A checkpoint that may be kept. */
export interface JudgedCheckpoint {
  readonly checkpoint: Checkpoint;
  readonly note: string;
  /** Size of the one before in the same log; 0: the first. */
  readonly before: number;
  readonly path: readonly Bytes[];
  readonly isNew: boolean;
}

export type CheckpointVerdict =
  | { readonly status: "verified"; readonly judged: JudgedCheckpoint }
  | { readonly status: "overtaken" }
  /** Signed by the server, and of a log that is not followed yet. */
  | { readonly status: "moved"; readonly log: string; readonly note: string }
  | { readonly status: "refused"; readonly code: ErrorCode };

/** An answer's checkpoint with its proof. */
export interface OfferedCheckpoint {
  readonly note: string;
  readonly consistency: readonly Bytes[];
  /** Size of the checkpoint that the request named. */
  readonly named: number;
}

/** Judges the checkpoint of an answer by what is held now. */
export function judgeCheckpoint(
  view: ServerLogView,
  offered: OfferedCheckpoint,
): CheckpointVerdict {
  const { crypto, server, held } = view;
  const key = publicKeyOf(server.key);
  const checkpoint =
    key === undefined ? undefined : openSignedCheckpoint(crypto, offered.note, key);
  if (checkpoint === undefined) return { status: "refused", code: "server_checkpoint_forged" };
  const { note, consistency: path, named } = offered;
  const known = held?.log ?? server.log;
  if (checkpoint.origin !== known) return judgeOther(view, known, checkpoint, note);
  if (held === undefined) {
    const judged = { checkpoint, note, before: 0, path: [], isNew: true };
    return { status: "verified", judged };
  }
  if (checkpoint.size === held.size && equalBytes(checkpoint.root, held.root)) {
    return { status: "verified", judged: { checkpoint, note, before: 0, path: [], isNew: false } };
  }
  if (held.size !== named && checkpoint.size !== held.size) return { status: "overtaken" };
  const continues = checkConsistency(crypto, {
    oldSize: held.size,
    oldRoot: held.root,
    newSize: checkpoint.size,
    newRoot: checkpoint.root,
    path,
  });
  if (!continues) return { status: "refused", code: "server_checkpoint_forked" };
  return { status: "verified", judged: { checkpoint, note, before: held.size, path, isNew: true } };
}

/** A checkpoint of a log that is not the one that is followed. */
function judgeOther(
  view: ServerLogView,
  known: string,
  checkpoint: Checkpoint,
  note: string,
): CheckpointVerdict {
  const former = view.former(checkpoint.origin);
  if (former !== undefined) {
    // Nothing is appended to a sealed log: a checkpoint beyond its last one shows that something was.
    const grew = former.sealed && checkpoint.size > former.size;
    return grew ? { status: "refused", code: "server_checkpoint_forked" } : { status: "overtaken" };
  }
  // Several steps may lie between the two: each is judged with its epoch.
  const plausible = logStep(known, checkpoint.origin) !== undefined;
  return plausible
    ? { status: "moved", log: checkpoint.origin, note }
    : { status: "refused", code: "server_checkpoint_forged" };
}

/** Keeps a judged checkpoint, in the caller's transaction. */
export function keepCheckpoint(tables: SyncTables, judged: JudgedCheckpoint): void {
  const { checkpoint, note, before, path, isNew } = judged;
  if (!isNew) return;
  const { origin: log, size, root } = checkpoint;
  tables.addCheckpoint({ log, size, root: base64(root), note, before, path });
  const server = tables.server();
  if (server !== undefined && server.log !== log) {
    tables.put("server", JSON.stringify({ ...server, log }));
  }
}

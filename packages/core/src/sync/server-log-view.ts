/**
 * The server log as this replica follows it: checkpoints under one pinned key, each a continuation of the one
 * before. What is judged here is pure; whoever stores it does so in one transaction with what the checkpoint
 * proves.
 *
 * A restored server goes on with the next log number of the same shard: a new chain begins there. Two
 * exchanges that run side by side both continue the checkpoint that they named; the second to arrive is
 * `overtaken` and asked again, because nobody can join its checkpoint to the first one's.
 */
import { type Checkpoint } from "../proof/checkpoint.ts";
import { openSignedCheckpoint, parseServerLogOrigin, publicKeyOf } from "../proof/server-key.ts";
import { checkConsistency } from "../proof/tree.ts";
import { base64, type Bytes, equalBytes } from "../std/bytes.ts";
import type { ErrorCode } from "../std/errors.ts";
import type { Crypto } from "../std/ports.ts";
import type { ServerIdentity } from "./sync-store.ts";
import type { HeldCheckpoint, SyncTables } from "./sync-tables.ts";

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
  crypto: Crypto,
  server: Pick<ServerIdentity, "key" | "log">,
  held: HeldCheckpoint | undefined,
  offered: OfferedCheckpoint,
): CheckpointVerdict {
  const key = publicKeyOf(server.key);
  const checkpoint =
    key === undefined ? undefined : openSignedCheckpoint(crypto, offered.note, key);
  if (checkpoint === undefined) return { status: "refused", code: "server_checkpoint_forged" };
  const { note, consistency: path, named } = offered;
  const succession = logSuccession(held?.log ?? server.log, checkpoint.origin);
  if (succession === "other") return { status: "refused", code: "server_checkpoint_forged" };
  if (held === undefined || succession === "later") {
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

function logSuccession(known: string, offered: string): "same" | "later" | "other" {
  if (known === offered) return "same";
  const before = parseServerLogOrigin(known);
  const after = parseServerLogOrigin(offered);
  if (before === undefined || after === undefined) return "other";
  return before.shard === after.shard && after.log > before.log ? "later" : "other";
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

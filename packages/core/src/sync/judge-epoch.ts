/**
 * Judging how the server log goes on in another one: the answer to `GET /v1/log/epoch`, by what is held. Pure.
 *
 * The next log is believed when its first leaf names the last checkpoint of the log that is held, and the held
 * checkpoint is contained in that one. A restored server may know less of its log than this device: the tail is
 * lost then, which is no contradiction by itself, because what is held up to that size still agrees. A log that was
 * sealed by a move has no such excuse.
 */
import { endsAfter, logStep, openEpoch } from "../proof/check-epoch.ts";
import type { Checkpoint } from "../proof/checkpoint.ts";
import { parseEpoch } from "../proof/server-epoch.ts";
import { openSignedCheckpoint, publicKeyOf } from "../proof/server-key.ts";
import { base64, type Bytes } from "../std/bytes.ts";
import type { ErrorCode } from "../std/errors.ts";
import type { EpochAnswer, EpochRequest } from "./messages/epoch.ts";
import type { ServerLogView } from "./server-log-view.ts";
import type { SyncTables } from "./sync-tables.ts";
import { takeLostTail } from "./take-lost-tail.ts";

/** What is known when the answer arrives. */
export interface EpochView extends ServerLogView {
  /** The newest held checkpoint of at most that size, of the log that is followed. */
  within(size: number): { readonly size: number; readonly root: Bytes } | undefined;
}

/** A step to the next log that may be kept. */
export interface JudgedEpoch {
  readonly answer: EpochAnswer;
  readonly last: Checkpoint;
  readonly next: Checkpoint;
  /** Size that `consistency` leads from; 0: nothing was held before. */
  readonly before: number;
  /** The log before ended below what is held of it. */
  readonly tailLost: boolean;
}

export type EpochVerdict =
  | { readonly status: "joined"; readonly judged: JudgedEpoch }
  /** Asked again from that size: what joins the two must begin there. */
  | { readonly status: "ask"; readonly size: number }
  /** What the request named is not what is held any more. */
  | { readonly status: "overtaken" }
  | { readonly status: "refused"; readonly code: ErrorCode };

export function judgeEpoch(
  view: EpochView,
  request: EpochRequest,
  answer: EpochAnswer,
): EpochVerdict {
  const { crypto, server, held } = view;
  if ((held?.log ?? server.log) !== request.log) return { status: "overtaken" };
  const key = publicKeyOf(server.key);
  const next = key && openSignedCheckpoint(crypto, answer.checkpoint, key);
  if (key === undefined || next === undefined) return refused("server_checkpoint_forged");
  const { epoch, last: note } = answer;
  const last = openEpoch(crypto, key, { epoch, next, last: note });
  if (last?.origin !== request.log || view.former(next.origin) !== undefined) {
    return refused("server_epoch_wrong");
  }
  const joined = (before: number, tailLost = false): EpochVerdict => ({
    status: "joined",
    judged: { answer, last, next, before, tailLost },
  });
  if (held === undefined) return joined(0);
  if (last.size >= held.size) {
    if (request.size !== held.size) return { status: "overtaken" };
    const contains = endsAfter(crypto, held, last, answer.consistency);
    return contains ? joined(held.size) : refused("server_checkpoint_forked");
  }
  if (logStep(last.origin, next.origin) !== "restored") return refused("server_checkpoint_forked");
  const known = view.within(last.size);
  if (known === undefined) return joined(0, true);
  if (known.size < last.size && request.size !== known.size) {
    return { status: "ask", size: known.size };
  }
  const agrees = endsAfter(crypto, known, last, answer.consistency);
  return agrees ? joined(known.size, true) : refused("server_checkpoint_forked");
}

function refused(code: ErrorCode): EpochVerdict {
  return { status: "refused", code };
}

/** Keeps both checkpoints and the statement that joins them, in the caller's transaction. */
export function keepEpoch(tables: SyncTables, judged: JudgedEpoch, at: number): void {
  const { answer, last, next, before, tailLost } = judged;
  const held = tables.checkpoint();
  const row = (of: Checkpoint) => ({ log: of.origin, size: of.size, root: base64(of.root) });
  if (!tailLost && (held?.size ?? 0) < last.size) {
    tables.addCheckpoint({ ...row(last), note: answer.last, before, path: answer.consistency });
  }
  tables.addCheckpoint({ ...row(next), note: answer.checkpoint, before: 0, path: [] });
  tables.addEpoch({
    log: next.origin,
    leaf: answer.epoch.text,
    path: answer.epoch.path,
    size: next.size,
    last: answer.last,
    consistency: tailLost ? answer.consistency : [],
  });
  const server = tables.server();
  if (server !== undefined) {
    tables.put("server", JSON.stringify({ ...server, log: next.origin }));
  }
  // Numbers of grants are in no checkpoint: a restored server may have given them anew.
  if (logStep(last.origin, next.origin) === "restored") tables.put("grants/after", "0");
  if (!tailLost || held === undefined) return;
  const { log, size } = held;
  const returned = takeLostTail(tables, parseEpoch(answer.epoch.text));
  tables.keepEvidence(`server_log_tail_lost/${next.origin}`, {
    code: "server_log_tail_lost",
    at,
    held: tables.checkpointNote(log, size) ?? "",
    last: answer.last,
    epoch: answer.epoch.text,
    returned,
  });
}

/**
 * What a push answer means, decided from the answer, the request and what is known of the log. Pure: every
 * signature, proof and statement is checked here, before anything is stored.
 */
import { deviceLogOrigin } from "../proof/checkpoint.ts";
import {
  checkProvenLeaf,
  type DeviceStatement,
  isIndexRanges,
  matchesOwed,
  noteDigest,
  parseStatement,
} from "../proof/server-leaf.ts";
import { openSignedCheckpoint, type PublicKey } from "../proof/server-key.ts";
import { base64 } from "../std/bytes.ts";
import { type ErrorCode, isHoldfastError } from "../std/errors.ts";
import type { PushAnswer, PushRequest } from "./messages/push.ts";
import { type JudgedCheckpoint, judgeCheckpoint, type ServerLogView } from "./server-log-view.ts";
import type { ShownLog } from "./sync-store.ts";
import type { KeptNote } from "./sync-tables.ts";

/** What is known when an answer arrives. */
export interface PushView extends ServerLogView {
  readonly tenant: string;
  /** Events of the log in this store. */
  readonly size: number;
  /** The key that signs the log's notes. */
  readonly key: PublicKey;
  noteAt(size: number): KeptNote | undefined;
}

type Receipted = Extract<PushAnswer, { status: "receipted" }>;

export type PushVerdict =
  | {
      readonly status: "receipted";
      readonly statement: DeviceStatement;
      readonly answer: Receipted;
      readonly judged: JudgedCheckpoint;
    }
  | { readonly status: "behind"; readonly size: number }
  | { readonly status: "overtaken" }
  | { readonly status: "moved"; readonly shown: ShownLog }
  /** Another copy of this device has gone on from `index`. */
  | { readonly status: "forked"; readonly index: number }
  /** The server holds more of this log than this store: what was recorded here since was lost here. */
  | {
      readonly status: "rewound";
      readonly statement: DeviceStatement;
      readonly answer: Receipted;
      readonly judged: JudgedCheckpoint;
    }
  /**
   * The server holds what was offered and then something else than this store: another copy of this device has
   * gone on from there. It shows that copy's note when the next push offers more.
   */
  | {
      readonly status: "diverged";
      readonly statement: DeviceStatement;
      readonly answer: Receipted;
      readonly judged: JudgedCheckpoint;
    }
  | { readonly status: "contradiction"; readonly code: ErrorCode };

/** Judges an answer to that request. */
export function judgePush(view: PushView, request: PushRequest, answer: PushAnswer): PushVerdict {
  switch (answer.status) {
    case "behind":
      return isSize(answer.size) && answer.size < request.from
        ? { status: "behind", size: answer.size }
        : contradiction("server_answer_wrong");
    case "fork":
      return judgeFork(view, request, answer);
    case "receipted":
      return judgeReceipted(view, request, answer);
    default:
      return answer satisfies never;
  }
}

/** A fork is believed when the server shows another note of this very log under this very key. */
function judgeFork(
  view: PushView,
  request: PushRequest,
  answer: Extract<PushAnswer, { status: "fork" }>,
): PushVerdict {
  const held = openSignedCheckpoint(view.crypto, answer.held, view.key);
  const proven =
    held?.origin === originOf(view, request) &&
    held.size === answer.size &&
    isSize(answer.index) &&
    answer.index < held.size &&
    answer.index < view.size &&
    view.noteAt(held.size)?.root !== base64(held.root);
  return proven ? { status: "forked", index: answer.index } : contradiction("server_answer_wrong");
}

function judgeReceipted(view: PushView, request: PushRequest, answer: Receipted): PushVerdict {
  const { crypto } = view;
  const statement = readReceipt(view, request, answer);
  if (statement === undefined) return contradiction("server_receipt_wrong");
  const verdict = judgeCheckpoint(view, {
    note: answer.checkpoint,
    consistency: answer.consistency,
    named: request.checkpoint,
  });
  if (verdict.status === "refused") return contradiction(verdict.code);
  if (verdict.status === "overtaken") return { status: "overtaken" };
  if (verdict.status === "moved") {
    return { status: "moved", shown: { log: verdict.log, checkpoint: verdict.note } };
  }
  const { judged } = verdict;
  if (!checkProvenLeaf(crypto, answer.receipt, judged.checkpoint)) {
    return contradiction("server_receipt_wrong");
  }
  // What the server has not signed is not believed: least of all that this log goes on elsewhere.
  if (answer.size !== statement.size) return contradiction("server_answer_wrong");
  if (statement.size > view.size) return { status: "rewound", statement, answer, judged };
  const note = view.noteAt(statement.size);
  const agrees =
    note !== undefined &&
    note.root === statement.root &&
    noteDigest(crypto, note.note) === statement.note;
  if (agrees) return { status: "receipted", statement, answer, judged };
  // Of what lies beyond the offer this device's note says nothing about the server's.
  return statement.size > offeredEnd(request)
    ? { status: "diverged", statement, answer, judged }
    : contradiction("server_receipt_wrong");
}

/** The size that the log has at least once the server has taken the request. */
export function offeredEnd({ from, entries }: PushRequest): number {
  return from + entries.length;
}

/** The statement, if it is a receipt of that log whose owed ranges are those of the answer. */
function readReceipt(
  view: PushView,
  request: PushRequest,
  answer: Receipted,
): DeviceStatement | undefined {
  try {
    const statement = parseStatement(answer.receipt.text);
    const agrees =
      statement.kind === "receipt" &&
      statement.origin === originOf(view, request) &&
      isIndexRanges(answer.owed, statement.size) &&
      matchesOwed(view.crypto, statement.owed, answer.owed);
    return agrees ? statement : undefined;
  } catch (error) {
    if (isHoldfastError(error, "server_leaf_malformed")) return undefined;
    throw error;
  }
}

function originOf(view: PushView, { device, incarnation }: PushRequest): string {
  return deviceLogOrigin({ tenant: view.tenant, device, incarnation });
}

function isSize(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

function contradiction(code: ErrorCode): PushVerdict {
  return { status: "contradiction", code };
}

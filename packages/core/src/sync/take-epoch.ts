/** Asking how the server log goes on, and taking the answer: kept whole, or as evidence. */
import type { Clock } from "../std/ports.ts";
import { keepEvidence } from "./evidence.ts";
import { judgeEpoch, keepEpoch } from "./judge-epoch.ts";
import type { EpochAnswer, EpochRequest } from "./messages/epoch.ts";
import type { ServerLogView } from "./server-log-view.ts";
import type { EpochOutcome, ShownLog } from "./sync-store.ts";
import type { SyncTables } from "./sync-tables.ts";

export interface TakeEpochDeps {
  readonly log: ServerLogView;
  readonly clock: Clock;
  readonly tables: SyncTables;
  /** One transaction under the lease. */
  within<T>(work: () => T): T;
}

/** Asks about the log that is held; `undefined`: no server is known. */
export function planEpoch(tables: SyncTables): EpochRequest | undefined {
  const server = tables.server();
  if (server === undefined) return undefined;
  const { log, size } = tables.checkpoint() ?? { log: server.log, size: 0 };
  return { log, size };
}

/** No answer: the server knows of no next log. */
export function takeEpoch(
  { log, clock, tables, within }: TakeEpochDeps,
  request: EpochRequest,
  answer: EpochAnswer | undefined,
  shown: ShownLog | undefined,
): EpochOutcome {
  const { crypto, held } = log;
  const view = { ...log, within: (size: number) => tables.checkpointWithin(request.log, size) };
  // Another exchange may have followed what was shown, and more.
  const isKnown =
    shown !== undefined && (held?.log === shown.log || log.former(shown.log) !== undefined);
  const missing = {
    status: isKnown ? "overtaken" : "refused",
    code: "server_epoch_wrong",
  } as const;
  const verdict = answer === undefined ? missing : judgeEpoch(view, request, answer);
  switch (verdict.status) {
    case "overtaken":
      return { status: "overtaken" };
    case "ask":
      return { status: "ask", request: { ...request, size: verdict.size } };
    case "joined":
      within(() => {
        keepEpoch(tables, verdict.judged, clock.now());
      });
      return { status: "followed", tailLost: verdict.judged.tailLost };
    case "refused":
      break;
  }
  const note = held && tables.checkpointNote(held.log, held.size);
  within(() => {
    keepEvidence({ crypto, clock }, tables, verdict.code, { request, answer, shown, held: note });
  });
  return { status: "contradiction", code: verdict.code };
}

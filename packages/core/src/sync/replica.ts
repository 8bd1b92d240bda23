/**
 * The `SyncStore` over a store: every plan and every answer is one turn of the writer loop, under the store's
 * lease, so that processes that share a store never work on the same entries. Answers are judged there too,
 * by what is stored at that moment, and kept in one transaction or not at all.
 */
import type { Keyring } from "../keys/keyring.ts";
import { originKey } from "../event/event.ts";
import { publicKeyOf } from "../proof/server-key.ts";
import { readIncarnationPub } from "../seal/incarnation.ts";
import { fromBase64 } from "../std/bytes.ts";
import { type ErrorCode, HoldfastError, invariant, isHoldfastError } from "../std/errors.ts";
import type { Clock, Crypto } from "../std/ports.ts";
import { lineOf } from "../store/session.ts";
import type { TenureView, Writer } from "../store/writer.ts";
import { enrolmentOf, keepEnrolment } from "./enrolment.ts";
import { judgePage, type PageView } from "./judge-page.ts";
import { judgePush, type PushVerdict } from "./judge-push.ts";
import { keepEvidence } from "./evidence.ts";
import type { PullPage, PullRequest } from "./messages/pull.ts";
import type { PushAnswer } from "./messages/push.ts";
import { endLost, planPull } from "./plan-pull.ts";
import { planPush } from "./plan-push.ts";
import { localValues } from "./local-values.ts";
import { planPresent, planShow } from "./present-receipts.ts";
import type { ServerLogView } from "./server-log-view.ts";
import type {
  PlannedPush,
  PullOutcome,
  PushOutcome,
  ServerIdentity,
  SyncStore,
} from "./sync-store.ts";
import { createTurn, type ReplicaSession, type Turn } from "./turn.ts";
import { createSyncTables, type KnownLog, mainLog, type SyncTables } from "./sync-tables.ts";
import { createAcknowledgements } from "./rest/acknowledgements.ts";
import { storePage } from "./take-pull.ts";
import { planEpoch, takeEpoch } from "./take-epoch.ts";
import { presentName } from "./take-lost-tail.ts";
import { settlePush } from "./take-push.ts";
import { readWatermarks } from "./watermarks.ts";

export interface ReplicaDeps {
  readonly crypto: Crypto;
  readonly clock: Clock;
  readonly keyring: Keyring;
  /** `undefined` in a store that is open for reading. */
  readonly writer: Writer | undefined;
  /** The session to read through. */
  readonly session: () => ReplicaSession;
  /** Names this process's lease of outbox entries: printable ASCII. */
  readonly worker: string;
  /** Opens an incarnation over the newest own log, with the lease held. */
  readonly openIncarnation: (token: number, reason: "fork" | "restored") => Promise<void>;
  /** After COMMIT: what was pulled is noted outside the store. */
  readonly pulled: (tenure: TenureView) => void;
  /** After COMMIT: read models and receipts may have moved on. */
  readonly onCommitted: () => void;
}

/** The store side of sync. */
export function createReplica(deps: ReplicaDeps): SyncStore {
  const { clock, crypto, keyring } = deps;
  const tables = (): SyncTables => createSyncTables(deps.session().driver);

  const turn = createTurn(deps);

  return {
    server: () => tables().server(),
    origin() {
      const { device, incarnation } = introduced(tables(), keyring);
      return { tenant: keyring.tenant, device, incarnation };
    },
    async signer() {
      const { incarnation } = introduced(tables(), keyring);
      const key = keyring.signingKeys().find((each) => each.incarnation === incarnation);
      if (key === undefined) throw new HoldfastError("keyring_record_missing");
      return { algorithm: key.algorithm, sign: await keyring.signer(incarnation) };
    },
    enrolment() {
      const of = tables();
      return enrolmentOf({ crypto, keyring, tables: of }, deps.session().log, newestOwn(of));
    },
    async enrolled(url, hello, answer, fingerprint) {
      await turn(({ tables: of, within, session: { driver, outbox } }) => {
        const told = { url, hello, answer, fingerprint };
        within(() => {
          keepEnrolment({ crypto, keyring, tables: of }, newestOwn(of), told);
          // What a backend without receipts acknowledged, this server has not: it gets everything.
          const acknowledgements = createAcknowledgements(driver);
          if (!acknowledgements.any()) return;
          acknowledgements.clear();
          outbox.rebuild();
        });
      });
    },
    planPush(bounds) {
      if (tables().server() === undefined) return Promise.resolve(undefined);
      return turn(({ session, tables: of, within }) => {
        const endpoint = endpointOf(of.server());
        const parts = { tables: of, log: session.log, outbox: session.outbox };
        return within(() => planPush({ ...parts, worker: deps.worker, endpoint }, bounds));
      });
    },
    takePush: (plan, answer) => turn((at) => takePush(deps, at, plan, answer)),
    async pushFailed(plan, failure) {
      await turn(({ session: { outbox }, within }) => {
        try {
          within(() => {
            outbox.failed(plan.token, plan.attempt, failure);
            outbox.release(plan.token);
          });
        } catch (error) {
          // Whoever has the entries now settles them.
          if (!isHoldfastError(error, "outbox_lease_lost")) throw error;
        }
      });
    },
    nextDueAt: () => deps.session().outbox.nextDueAt(),
    planPull(bounds) {
      const of = tables();
      return of.server() === undefined ? undefined : planPull(of, bounds);
    },
    async takePull(request, page) {
      const outcome = await turn((at) => keyring.steadily(() => takePull(deps, at, request, page)));
      if (outcome.status === "stored" && outcome.events > 0) deps.onCommitted();
      return outcome;
    },
    evidence: () => tables().halted()?.code,
    async halt(code) {
      await turn(({ tables: of, within }) => {
        within(() => {
          of.halt(code, clock.now());
        });
      });
    },
    async resumed(actor, reason) {
      await turn(({ tables: of, within }) => {
        within(() => {
          of.resume({ actor, reason, at: clock.now() });
        });
      });
    },
    ...followingLogs(deps, tables, turn),
    watermarks() {
      const { driver, outbox } = deps.session();
      return readWatermarks(driver, outbox);
    },
  };

  async function takePush(
    parts: ReplicaDeps,
    at: Turn,
    plan: PlannedPush,
    answer: PushAnswer,
  ): Promise<PushOutcome> {
    const { session, tables: of } = at;
    const { device, incarnation } = plan.request;
    const log = of.log(device, incarnation);
    invariant(log?.own === 1, "an own log was pushed");
    const size = of.lastSequence(log.number);
    const verdict = judgeAnswer(at, plan, answer, log, size);
    const outcome = at.within(() => {
      const settled = settlePush(
        { tables: of, outbox: session.outbox, clock },
        plan,
        { number: log.number, size },
        verdict,
      );
      const isFork = verdict.status === "forked" || verdict.status === "contradiction";
      if (isFork) keepAnswer({ crypto, clock }, of, plan, answer, verdict);
      return settled;
    });
    // The branch of an earlier incarnation has ended already: nothing goes on from it.
    const goesOn = lineOf(keyring, of.ownLogs().toReversed(), keyring.providers.line());
    if (outcome.status === "reopened" && goesOn?.number === log.number) {
      await parts.openIncarnation(at.token, outcome.reason === "fork" ? "fork" : "restored");
      at.tenure.forget();
    }
    parts.onCommitted();
    return outcome;
  }

  function judgeAnswer(
    { tables: of }: Turn,
    plan: PlannedPush,
    answer: PushAnswer,
    log: KnownLog,
    size: number,
  ): PushVerdict {
    const { algorithm, spki } = ownKey(log);
    const view = {
      tenant: keyring.tenant,
      ...serverLogView(crypto, of),
      size,
      key: { algorithm, spki },
      noteAt: (at: number) => of.noteAt(log.number, at),
    };
    return judgePush(view, plan.request, answer);
  }

  function ownKey({ incarnation }: KnownLog) {
    const key = keyring.signingKeys().find((each) => each.incarnation === incarnation);
    if (key === undefined) throw new HoldfastError("keyring_record_missing", { record: "signing" });
    return key;
  }

  function takePull(
    parts: ReplicaDeps,
    at: Turn,
    request: PullRequest,
    page: PullPage,
  ): PullOutcome {
    const { session, tables: of } = at;
    const verdict = judgePage(pageView(of, keyring, crypto), request, page);
    if (verdict.status === "overtaken") return { status: "stored", events: 0, more: true };
    if (verdict.status === "moved") return { status: "moved", shown: verdict.shown };
    if (verdict.status === "returned") {
      at.within(() => {
        for (const name of verdict.logs) endLost(of, name);
      });
      return { status: "stored", events: 0, more: true };
    }
    if (verdict.status === "refused") return refusePage(at, page, verdict.code, verdict.object);
    const { driver, log, participants } = session;
    const { device } = newestOwn(of);
    try {
      const { heads, events, more } = at.within(() =>
        storePage(
          { crypto, driver, log, tables: of, participants, device },
          request,
          page,
          verdict.page,
        ),
      );
      at.tenure.moved(heads);
      if (events > 0) parts.pulled(at.tenure);
      return { status: "stored", events, more };
    } catch (error) {
      if (!isHoldfastError(error, "event_id_conflict")) throw error;
      return refusePage(at, page, error.code, String(error.details["id"]));
    }
  }

  function refusePage(at: Turn, page: PullPage, code: ErrorCode, object: string): PullOutcome {
    const { checkpoint, consistency } = page;
    const which = /^(?:log|opening|event) (\d+)/.exec(object)?.[1];
    const shown = object.startsWith("event") ? page.events : page.logs;
    const part = which === undefined ? undefined : shown[Number(which)];
    at.within(() => {
      keepEvidence({ crypto, clock }, at.tables, code, { object, checkpoint, consistency, part });
    });
    return { status: "contradiction", code };
  }
}

/** The step to the log that goes on, and what is shown to a server that knows less of its log. */
function followingLogs(
  { crypto, clock, onCommitted }: ReplicaDeps,
  tables: () => SyncTables,
  turn: ReturnType<typeof createTurn>,
): Pick<SyncStore, "planEpoch" | "takeEpoch" | "planShow" | "planPresent" | "presented"> {
  return {
    planEpoch: () => planEpoch(tables()),
    async takeEpoch(request, answer, shown) {
      const outcome = await turn(({ tables: of, within }) => {
        const log = serverLogView(crypto, of);
        return takeEpoch({ log, clock, tables: of, within }, request, answer, shown);
      });
      // What a restored server lost waits again.
      if (outcome.status === "followed" && outcome.tailLost) onCommitted();
      return outcome;
    },
    planShow: () => planShow(tables()),
    planPresent: () => planPresent(tables()),
    async presented() {
      await turn(({ session: { driver }, within }) => {
        within(() => {
          localValues(driver).remove(presentName);
        });
      });
    },
  };
}

function newestOwn(of: SyncTables): KnownLog {
  const own = mainLog(of.ownLogs());
  invariant(own !== undefined, "an open store has an incarnation");
  return own;
}

/**
 * The newest own log whose key the server can check (of a younger one it learns by a push), and of these rather
 * one whose key provider works, the chosen one's first.
 */
function introduced(of: SyncTables, keyring: Keyring): KnownLog {
  const known = of
    .ownLogs()
    .filter(({ number }) => of.pushed(number).receipt !== undefined || of.hasLeaf(number, "enrol"));
  const holders = new Map(keyring.signingKeys().map((key) => [key.incarnation, key.provider]));
  const { providers } = keyring;
  const line = providers.line();
  return (
    known.findLast(({ incarnation }) => holders.get(incarnation) === line) ??
    known.findLast(({ incarnation }) => {
      return providers.get(holders.get(incarnation) ?? "") !== undefined;
    }) ??
    known.at(-1) ??
    newestOwn(of)
  );
}

/** The evidence: what the server signed, beside what we had asked. */
function keepAnswer(
  deps: Pick<ReplicaDeps, "crypto" | "clock">,
  of: SyncTables,
  plan: PlannedPush,
  answer: PushAnswer,
  verdict: PushVerdict,
): void {
  const code: ErrorCode = verdict.status === "contradiction" ? verdict.code : "log_forked";
  const { device, incarnation, from, note, checkpoint } = plan.request;
  const request = { device, incarnation, from, note, checkpoint };
  keepEvidence(deps, of, code, { request, answer });
}

function pageView(of: SyncTables, keyring: Keyring, crypto: Crypto): PageView {
  const numberOf = (device: string, incarnation: string): number =>
    of.log(device, incarnation)?.number ?? -1;
  /** How far the server need know a log. */
  function mostOf(device: string, incarnation: string): number {
    const known = of.log(device, incarnation);
    if (known === undefined) return 0;
    // Of an own log what the server has receipted: of the rest it need not know.
    if (known.own === 1) return of.pushed(known.number).size;
    const isLost = of.lostLog(device, incarnation) !== undefined;
    return isLost ? (of.largestReceipt(known.number)?.size ?? 0) : Number.MAX_SAFE_INTEGER;
  }

  return {
    ...serverLogView(crypto, of),
    lostSize: (device, incarnation) => of.lostLog(device, incarnation)?.size,
    keyring,
    tenant: keyring.tenant,
    newestNote(device, incarnation) {
      const note = of.noteWithin(numberOf(device, incarnation), mostOf(device, incarnation));
      if (note === undefined) return undefined;
      return { size: note.size, root: fromBase64(note.root) ?? new Uint8Array(0) };
    },
    rootAt: (device, incarnation, size) => of.noteAt(numberOf(device, incarnation), size)?.root,
    keyOf(device, incarnation) {
      const opening = of.opening(numberOf(device, incarnation));
      if (opening === undefined) return undefined;
      const { pub } = JSON.parse(opening) as { readonly pub?: unknown };
      return publicKeyOf(readIncarnationPub(pub)?.spki ?? "");
    },
    isOwn: (device, incarnation) =>
      of.log(device, incarnation)?.own === 1 ||
      keyring
        .signingKeys()
        .some((key) => originKey(key.device, key.incarnation) === originKey(device, incarnation)),
  };
}

function serverLogView(crypto: Crypto, of: SyncTables): ServerLogView {
  const former = (log: string) => of.formerLog(log);
  return { crypto, server: knownServer(of), held: of.checkpoint(), former };
}

function knownServer(of: SyncTables): ServerIdentity {
  const server = of.server();
  if (server === undefined) throw new HoldfastError("server_unknown");
  return server;
}

/** Scheme, host and port: what attempts and breakers are counted by. */
export function endpointOf(server: ServerIdentity | undefined): string {
  const url = server?.url ?? "";
  return /^[a-z][a-z0-9+.-]*:\/\/[^/?#]+/i.exec(url)?.[0].replace(/\/\/[^@/]*@/, "//") ?? url;
}

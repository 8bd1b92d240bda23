/**
 * The port between the sync engine and a store: what is to be pushed, what was receipted, what was pulled.
 * Everything that was verified is stored in one transaction each; the engine itself keeps nothing that a
 * restart would miss. Implemented over the writer loop in `replica.ts`.
 */
import type { IndexRanges } from "../proof/server-leaf.ts";
import type { EnrolAnswer, EnrolRequest } from "./messages/enrol.ts";
import type { EpochAnswer, EpochRequest } from "./messages/epoch.ts";
import type { Hello } from "./messages/hello.ts";
import type { PresentRequest } from "./messages/present.ts";
import type { PullPage, PullRequest } from "./messages/pull.ts";
import type { PushAnswer, PushRequest } from "./messages/push.ts";

/** The server that this store is enrolled at: kept in the table `sync`. */
export interface ServerIdentity {
  readonly url: string;
  readonly host: string;
  /** DER SubjectPublicKeyInfo of the checkpoint key, base64: pinned at enrolment by the code's fingerprint. */
  readonly key: string;
  /** Origin of the server log: `<host>/holdfast/<shard>/<log number>`. */
  readonly log: string;
  /** Device that founded the tenant. */
  readonly founder: string;
  /** Device id of the server's node. */
  readonly node: string;
  readonly role: string;
}

/** An exchange that is ready to go; its outbox entries are leased under `token`. */
export interface PlannedPush {
  readonly token: number;
  /** Number of the attempt row. */
  readonly attempt: number;
  readonly request: PushRequest;
  /** Outbox positions of the bodies in the request, in the order of entries, then fills. */
  readonly positions: readonly number[];
  readonly bytes: number;
  readonly urgent: boolean;
}

/** How much one exchange may carry; adapted by the engine. */
export interface PushBounds {
  readonly bodies: number;
  readonly bytes: number;
  readonly leaves: number;
}

/** A server log that an answer showed and that this store does not follow, with the checkpoint of it. */
export interface ShownLog {
  readonly log: string;
  readonly checkpoint: string;
}

/** What came of asking how the server log goes on. */
export type EpochOutcome =
  /** The next log is followed; `tailLost`: the one before ended below what is held of it. */
  | { readonly status: "followed"; readonly tailLost: boolean }
  /** Asked again like this, to join the two. */
  | { readonly status: "ask"; readonly request: EpochRequest }
  /** Another exchange has moved on what the request named. */
  | { readonly status: "overtaken" }
  | { readonly status: "contradiction"; readonly code: string };

/** What came of an answer. */
export type PushOutcome =
  | {
      readonly status: "receipted";
      readonly delivered: number;
      readonly rejected: number;
      readonly more: boolean;
    }
  /** The server knows less or more than believed: the plan is made anew. */
  | { readonly status: "replan" }
  /** The answer is of another server log: it is asked again once that log is followed. */
  | { readonly status: "moved"; readonly shown: ShownLog }
  /** This log was forked or rewound: a new incarnation was opened, the branch is held in dead letters. */
  | { readonly status: "reopened"; readonly reason: "fork" | "rewound" }
  /** The server contradicts what it has signed: kept as evidence; sync stops for a person. */
  | { readonly status: "contradiction"; readonly code: string };

/** What came of a page. */
export type PullOutcome =
  | { readonly status: "stored"; readonly events: number; readonly more: boolean }
  | { readonly status: "moved"; readonly shown: ShownLog }
  | { readonly status: "contradiction"; readonly code: string };

/** Watermarks: what status is made of, never sockets. */
export interface SyncWatermarks {
  /** recordedAt of the oldest own event that the server has not acknowledged. */
  readonly oldestUnacknowledgedAt: number | undefined;
  /** Size of the own device log through which every body is delivered: by receipts, or by a backend's word. */
  readonly acknowledgedThrough: number;
  /** Receipted size, and what of it is owed. */
  readonly receiptedSize: number;
  readonly owed: IndexRanges;
  /** receivedAt of the newest receipt, by the server's clock. */
  readonly lastReceiptAt: number | undefined;
  readonly waiting: number;
  readonly dead: number;
  /** Position pulled through, of the scope that is furthest behind. */
  readonly pulledThrough: number | undefined;
}

/** See the module header; every change is one transaction, durable when it resolves. */
export interface SyncStore {
  server(): ServerIdentity | undefined;
  /** Origin of the device log that signs assertions: the newest own incarnation that the server knows. */
  origin(): { readonly tenant: string; readonly device: string; readonly incarnation: string };
  /** Signs as that incarnation: raw Ed25519 R ‖ S, or ECDSA r ‖ s. */
  signer(): Promise<{
    readonly algorithm: "ed25519" | "ecdsa-p256";
    sign(message: Uint8Array): Promise<Uint8Array> | Uint8Array;
  }>;
  /** Opening, newest note and path of index 0. */
  enrolment(): Omit<EnrolRequest, "proof" | "binding">;
  /** Verifies the enrolment against the pinned fingerprint and keeps the server. Throws `server_*`. */
  enrolled(url: string, hello: Hello, answer: EnrolAnswer, fingerprint: string): Promise<void>;
  /** Leases the next entries and plans an exchange of every own log in turn; `undefined`: nothing is due. */
  planPush(bounds: PushBounds): Promise<PlannedPush | undefined>;
  /** Verifies and stores what the server answered; settles the lease. Throws `outbox_lease_lost`. */
  takePush(plan: PlannedPush, answer: PushAnswer): Promise<PushOutcome>;
  /** Gives the entries of a failed exchange back with their next try, or to dead letters. */
  pushFailed(
    plan: PlannedPush,
    failure: { readonly code: string; readonly status?: number; readonly nextAt: number },
  ): Promise<void>;
  /** When the next entry is due, UTC ms; `undefined`: nothing waits. */
  nextDueAt(): number | undefined;
  planPull(bounds: { readonly events: number; readonly bytes: number }): PullRequest | undefined;
  takePull(request: PullRequest, page: PullPage): Promise<PullOutcome>;
  /** Asks how the server log that is held goes on; `undefined`: no server is known. */
  planEpoch(): EpochRequest | undefined;
  /** Verifies and keeps the step to the next log. No answer: the server knows of none, though it showed one. */
  takeEpoch(
    request: EpochRequest,
    answer: EpochAnswer | undefined,
    shown?: ShownLog,
  ): Promise<EpochOutcome>;
  /** What a server that has less of its log is shown; `undefined`: no checkpoint is held. */
  planShow(): PresentRequest | undefined;
  /** Receipts that a restored server lost and has not been presented yet. */
  planPresent(): readonly PresentRequest[];
  /** They were presented. */
  presented(): Promise<void>;
  watermarks(): SyncWatermarks;
  /** Code of the contradiction that sync stopped for, until a person resumes it; outlives the process. */
  evidence(): string | undefined;
  /** Sync stops for a person, because of that contradiction. */
  halt(code: string): Promise<void>;
  /** A person has looked at the evidence: it is kept, the stop is taken back. */
  resumed(actor: string, reason: string): Promise<void>;
}

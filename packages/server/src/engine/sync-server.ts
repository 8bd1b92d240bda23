/**
 * The server without HTTP: one method a message, callers already authenticated. What HTTP adds (tokens, limits,
 * codecs) is in `api/`; the simulator drives this engine directly.
 */
import type {
  CodeRequest,
  ConflictsAnswer,
  ConsistencyAnswer,
  ConsistencyRequest,
  EnrolAnswer,
  EnrolledDevice,
  EnrolRequest,
  EpochAnswer,
  EpochRequest,
  PresentRequest,
  GrantsAnswer,
  GrantsRequest,
  Hello,
  InclusionAnswer,
  InclusionRequest,
  LeavesAnswer,
  PullPage,
  PullRequest,
  PushAnswer,
  PushRequest,
  RevokeRequest,
  Role,
} from "@holdfast/core";
import type { MoveAnswer, MoveRequest } from "./admin/move-tenant.ts";
import type { RestoredLog } from "./admin/restore-logs.ts";
import type { ExaminedShard } from "./reading/examine.ts";
import type { LostLog } from "./reading/lost.ts";
import type { ShardRow } from "./server-store.ts";

/** Who calls: from a verified access token. */
export interface Caller {
  readonly tenant: string;
  readonly device: string;
  readonly incarnation: string;
}

/** The key that proves an assertion: of an enrolled device's incarnation. */
export interface AssertionKey {
  readonly algorithm: "ed25519" | "ecdsa-p256";
  readonly spki: Uint8Array;
  readonly role: Role;
  /** The device was revoked: it may push into custody, every other call answers `device_revoked`. */
  readonly pushOnly: boolean;
}

/**
 * What the server does for a caller. Refusals are `HoldfastError`s and change nothing: `caller_unknown`,
 * `device_revoked`, `role_insufficient`, and those that each method's module names.
 */
export interface SyncServer {
  hello(): Promise<Hello>;
  /**
   * Does the storage take writes and keep them as promised? Throws when not, and `server_put_back` from when a tenant was
   * met whose log must not be signed any more until that log goes on in the next one.
   */
  ready(): Promise<void>;
  enrol(request: EnrolRequest): Promise<EnrolAnswer>;
  /** Registers a code that founds a tenant: an act of the operator, not of any device. */
  addFoundingCode(digest: string, expires: number): Promise<void>;
  /** `undefined`: no such log. */
  assertionKey(caller: Caller): Promise<AssertionKey | undefined>;
  /** `raw`: the request as it came, kept where it goes into quarantine. */
  push(caller: Caller, request: PushRequest, raw: Uint8Array): Promise<PushAnswer>;
  pull(caller: Caller, request: PullRequest): Promise<PullPage>;
  grants(caller: Caller, after: number): Promise<GrantsAnswer>;
  sendGrants(caller: Caller, request: GrantsRequest): Promise<void>;
  devices(caller: Caller): Promise<readonly EnrolledDevice[]>;
  addCode(caller: Caller, request: CodeRequest): Promise<void>;
  revoke(caller: Caller, request: RevokeRequest): Promise<void>;
  conflicts(caller: Caller, stream: string | undefined): Promise<ConflictsAnswer>;
  /** `log`: origin or shard of a former log of the tenant, here and below. */
  checkpoint(caller: Caller, log?: string): Promise<{ readonly checkpoint: string }>;
  inclusion(caller: Caller, request: InclusionRequest): Promise<InclusionAnswer>;
  consistency(caller: Caller, request: ConsistencyRequest): Promise<ConsistencyAnswer>;
  leaves(caller: Caller, from: number, to: number, log?: string): Promise<LeavesAnswer>;
  epoch(caller: Caller, request: EpochRequest): Promise<EpochAnswer>;
  /** Keeps what this server signed and does not know any more. Throws `server_put_back`. */
  present(caller: Caller, request: PresentRequest): Promise<void>;
  /** Moves a tenant to another shard, while its devices go on: an act of the operator. */
  moveTenant(request: MoveRequest): Promise<MoveAnswer>;
  /** After the database was put back to an older copy: an act of the operator. Throws `server_log_unproven`. */
  restoreLogs(): Promise<readonly RestoredLog[]>;
  /** What devices have shown to be lost, and what of it is back: for the operator. */
  lost(): Promise<readonly LostLog[]>;
  /** Looks every shard over, without changing anything: for the operator. */
  examine(): Promise<readonly ExaminedShard[]>;
  /** Every shard, sealed ones included: for the operator. */
  shards(): Promise<readonly ShardRow[]>;
  /** Device id of this node in a tenant, where it is enrolled by then. Throws `caller_unknown`. */
  node(tenant: string): Promise<string>;
  /**
   * Tells how far a tenant's events reach whenever they are seen to have grown, whichever node placed them; returns
   * the end of it. Hints: one may stand for many, and those of other nodes may be late.
   */
  watch(tenant: string, listener: (head: number) => void): () => void;
  /** Told of every commit of this process that placed events; returns the end of it. */
  onEvents(listener: (tenant: string, head: number) => void): () => void;
  close(): Promise<void>;
}

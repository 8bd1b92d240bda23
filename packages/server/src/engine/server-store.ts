/**
 * The port of the server's storage: SQLite (`sqlite-server-store.ts`) and PostgreSQL (`postgres-server-store.ts`),
 * one conformance suite. A transaction belongs to one tenant, and no other one's rows are there inside of it. A
 * write moves the head row of the tenant's shard; positions and leaf indices are gap-free and in commit order
 * because both counters move in the transaction that uses them.
 *
 * A tenant's server log may go on in another one (`succeedLog`): positions go on in it, leaf indices begin anew. The
 * former logs stay readable and are never written again: methods that take `log` read the shard's newest log
 * without it, and that one with it.
 *
 * Every answer may be a promise. Reads see committed state, and one state at a time.
 */
import type {
  Bytes,
  CompactRange,
  HashSpan,
  IndexRanges,
  MaybePromise,
  Role,
} from "@holdfast/core";

/** Counters of a shard, moved in the transaction that uses them. */
export interface ShardHead {
  readonly shard: string;
  /** Number of the shard's newest server log: raised when a server is restored. */
  readonly log: number;
  /** Last position; 0: none. */
  readonly events: number;
  /** Leaves of the server log. */
  readonly leaves: number;
}

/** One log of a shard. */
export interface ServerLogName {
  readonly shard: string;
  readonly log: number;
}

/** A shard as the operator sees it. */
export interface ShardRow extends ShardHead {
  readonly tenant: string;
  /** Its tenant has moved to another shard: nothing is written here any more. */
  readonly sealed: boolean;
}

/** How a tenant's server log went on in another one. */
export interface SuccessionRow {
  readonly from: ServerLogName;
  /** Leaves that the log before ended with. */
  readonly size: number;
  readonly to: ServerLogName;
}

/** A tenant: founded once, with one shard at a time. */
export interface TenantRow {
  readonly tenant: string;
  readonly shard: string;
  readonly founder: string;
  /** Device id of the server's own node in this tenant. */
  readonly node: string;
}

/** An enrolled device. Times in UTC milliseconds of the server's clock. */
export interface DeviceRow {
  readonly device: string;
  readonly role: Role;
  readonly status: "active" | "revoked";
  readonly enrolledAt: number;
  readonly code: string | undefined;
  readonly binding: string | undefined;
}

/** A device log as the server holds it. */
export interface DeviceLogRow {
  readonly device: string;
  readonly incarnation: string;
  readonly algorithm: "ed25519" | "ecdsa-p256";
  readonly spki: Bytes;
  /** X25519 public key of the installation, base64. */
  readonly hpke: string;
  readonly opening: string;
  readonly size: number;
  /** Leaf of the last event; `noPrevious` when empty. */
  readonly head: string;
  readonly range: CompactRange;
  /** Newest receipted commit note, and index of its receipt in the server log; absent before the first push. */
  readonly note: string | undefined;
  readonly receipt: number | undefined;
  readonly receivedAt: number;
  /** Indices of its `enrol` and `revoke` leaves in the server log. */
  readonly enrolment: number;
  readonly revocation: number | undefined;
  readonly owed: IndexRanges;
  /** Size at which the device was revoked: what lies beyond is custody outside the shared view. */
  readonly cutoff: number | undefined;
}

/** An event with its body, at its position in the shard; its scope, and else what its header says. */
export interface PlacedEvent {
  readonly position: number;
  readonly device: string;
  readonly incarnation: string;
  readonly index: number;
  readonly scope: string;
  readonly header: string;
  /** Frames as the server keeps them: `ingest/frames.ts`, read without decoding names, for pages. */
  readonly frames: Uint8Array;
}

/** An event that is about to get its position, with what it is found by, as its header says it. */
export interface EventToPlace extends Omit<PlacedEvent, "position"> {
  readonly leaf: string;
  readonly id: string;
  readonly stream: string;
  readonly type: string;
}

/** A header as it is read for conflicts. */
export interface StreamHeader {
  readonly scope: string;
  readonly header: string;
}

/** A shred in force: of a scope, or of one section of it. */
export interface ShredRow {
  readonly scope: string;
  /** Empty: every section. */
  readonly section: string;
  /** Id of the shred. */
  readonly shred: string;
}

/** A request kept apart from the shared view, with the code that says why. */
export interface QuarantineRow {
  readonly tenant: string;
  readonly device: string;
  readonly incarnation: string;
  readonly code: string;
  readonly note: string;
  readonly from: number;
  /** The request as it came. */
  readonly bytes: Uint8Array;
  readonly at: number;
}

/** What one access event changes, with its place among the others (`ingest/access.ts` says which counts). */
export interface AccessChange {
  /** Whose access changes. */
  readonly device: string;
  readonly kind: "granted" | "revoked";
  readonly scopes: readonly string[];
  /** Origin key of the device log that says so; empty for what founding gave. */
  readonly by: string;
  readonly index: number;
  readonly position: number;
}

/** An enrolment code, by the digest of its proof. Times in UTC milliseconds. */
export interface CodeRow {
  readonly digest: string;
  /** `undefined`: founds a tenant. */
  readonly tenant: string | undefined;
  readonly role: Role;
  readonly expires: number;
  readonly usedAt: number | undefined;
}

/** A signed checkpoint of a server log; root 32 bytes, note C2SP, time UTC milliseconds. */
export interface CheckpointRow {
  readonly size: number;
  readonly root: Bytes;
  readonly note: string;
  readonly at: number;
}

/** What may be read, inside and outside of a transaction. */
export interface ServerReads {
  tenant(tenant: string): MaybePromise<TenantRow | undefined>;
  head(shard: string): MaybePromise<ShardHead>;
  /** Every shard of every tenant, by tenant, in the order in which they were begun. */
  shards(): MaybePromise<readonly ShardRow[]>;
  /** In their order. */
  successions(tenant: string): MaybePromise<readonly SuccessionRow[]>;
  device(tenant: string, device: string): MaybePromise<DeviceRow | undefined>;
  devices(tenant: string): MaybePromise<readonly DeviceRow[]>;
  deviceLog(
    tenant: string,
    device: string,
    incarnation: string,
  ): MaybePromise<DeviceLogRow | undefined>;
  deviceLogs(tenant: string, device?: string): MaybePromise<readonly DeviceLogRow[]>;
  /** Hashes of the tree of a device log, all spans in one batch. Throws `proof_source_short`. */
  deviceHashes(
    tenant: string,
    device: string,
    incarnation: string,
    spans: readonly HashSpan[],
  ): MaybePromise<readonly (readonly Bytes[])[]>;
  /** Leaves [from, to) of a device log, base64url. */
  leavesOf(
    tenant: string,
    device: string,
    incarnation: string,
    from: number,
    to: number,
  ): MaybePromise<readonly string[]>;
  /** Which of these event ids have a body here. */
  placedIds(tenant: string, ids: readonly string[]): MaybePromise<ReadonlySet<string>>;
  /**
   * Events of those scopes after a position, in order, at most `limit`, without those of device `except`. With
   * `bytes` (headers and frames) it ends after the second event at the earliest, with the one that goes beyond.
   */
  events(
    tenant: string,
    scopes: readonly string[] | "*",
    after: number,
    limit: number,
    except?: string,
    bytes?: number,
  ): MaybePromise<readonly PlacedEvent[]>;
  /** Streams that several device logs extended, by name, at most `limit` after a name. */
  sharedStreams(tenant: string, after: string, limit: number): MaybePromise<readonly string[]>;
  /** The newest headers of a stream, at most `limit`, in order of position. */
  headersOfStream(
    tenant: string,
    stream: string,
    limit: number,
  ): MaybePromise<readonly StreamHeader[]>;
  /** Scopes that a device may read; `*` among them: all. */
  access(tenant: string, device: string): MaybePromise<readonly string[]>;
  /** Every access change about a device, by position. */
  accessChanges(tenant: string, device: string): MaybePromise<readonly AccessChange[]>;
  /** Text of leaves [from, to) of the server log. */
  serverLeaves(
    shard: string,
    from: number,
    to: number,
    log?: number,
  ): MaybePromise<readonly string[]>;
  /** Hashes of the tree of the server log, all spans in one batch. Throws `proof_source_short`. */
  serverHashes(
    shard: string,
    spans: readonly HashSpan[],
    log?: number,
  ): MaybePromise<readonly (readonly Bytes[])[]>;
  /** Of the newest log. */
  serverRange(shard: string): MaybePromise<CompactRange>;
  checkpoint(shard: string, size?: number, log?: number): MaybePromise<CheckpointRow | undefined>;
  /** The newest receipt leaf of a commit note in the tenant's newest server log, by its digest. */
  receiptOf(
    tenant: string,
    device: string,
    incarnation: string,
    noteDigest: string,
  ): MaybePromise<number | undefined>;
  code(digest: string): MaybePromise<CodeRow | undefined>;
  grants(
    tenant: string,
    recipient: string,
    after: number,
    limit: number,
  ): MaybePromise<readonly { readonly number: number; readonly grant: string }[]>;
  /** Grants of the tenant, to whomever, after a number. */
  grantsOf(
    tenant: string,
    after: number,
    limit: number,
  ): MaybePromise<readonly { readonly number: number; readonly grant: string }[]>;
  /** Shreds in force that concern these scopes. */
  shreds(tenant: string, scopes: readonly string[]): MaybePromise<readonly ShredRow[]>;
  /** Shreds in force whose frames and grants are not all gone yet. */
  unfinishedShreds(tenant: string): MaybePromise<readonly ShredRow[]>;
  quarantine(tenant: string, limit: number): MaybePromise<readonly QuarantineRow[]>;
  /** Everything that lies in quarantine under that code, oldest first. */
  quarantineOf(tenant: string, code: string): MaybePromise<readonly QuarantineRow[]>;
  /**
   * Greatest number of a log of the tenant's shard beyond which a device has shown what is not here (`reading/present.ts`);
   * 0: none. While it is not below the number of the newest log, what would sign that one throws `server_put_back`.
   */
  shownLog(shard: string): MaybePromise<number>;
  /** Bytes of the requests of one device that lie in quarantine; not what this server had signed itself. */
  quarantined(tenant: string, device: string): MaybePromise<number>;
}

/** What a transaction may change. */
export interface ServerWrites extends ServerReads {
  /** With an empty shard, log number 1. Throws `shard_taken` for the name of any shard that there is or was. */
  addTenant(row: TenantRow): MaybePromise<void>;
  /**
   * Ends the tenant's server log and begins the one that goes on for it: a later log number of the same shard, or
   * log 1 of a shard that is not there yet. Positions go on; leaves begin at 0; the tenant's row names the shard.
   * From then on whatever would write to the shard before throws `server_log_sealed`. Throws `shard_taken`, and
   * `server_put_back` for another shard than the one whose newest log must not be signed any more.
   */
  succeedLog(tenant: string, to: ServerLogName): MaybePromise<void>;
  addDevice(tenant: string, row: DeviceRow): MaybePromise<void>;
  revokeDevice(tenant: string, device: string): MaybePromise<void>;
  addDeviceLog(tenant: string, row: DeviceLogRow): MaybePromise<void>;
  /** Appends leaves to a device log and moves its row to the new state, indices in the server log included. */
  extendDeviceLog(
    tenant: string,
    row: DeviceLogRow,
    from: number,
    leaves: readonly Bytes[],
  ): MaybePromise<void>;
  /** Gives bodies the next positions of the shard. Answers the first one. */
  placeEvents(tenant: string, events: readonly EventToPlace[]): MaybePromise<number>;
  /** Appends to the shard's server log. Answers the index of the first. Throws `server_log_sealed`, `server_put_back`. */
  addServerLeaves(shard: string, texts: readonly string[]): MaybePromise<number>;
  addReceipt(
    tenant: string,
    device: string,
    incarnation: string,
    noteDigest: string,
    index: number,
  ): MaybePromise<void>;
  /** Of the shard's newest log. Throws `server_log_sealed`, `server_put_back`. */
  addCheckpoint(shard: string, row: CheckpointRow): MaybePromise<void>;
  addAccessChange(tenant: string, change: AccessChange): MaybePromise<void>;
  setAccess(tenant: string, device: string, scopes: readonly string[]): MaybePromise<void>;
  addCode(row: CodeRow): MaybePromise<void>;
  useCode(digest: string, at: number): MaybePromise<void>;
  addGrants(
    tenant: string,
    grants: readonly {
      readonly recipient: string;
      readonly key: string;
      readonly generation: number;
      readonly grant: string;
    }[],
  ): MaybePromise<void>;
  /** Withdraws what was granted to an installation. */
  dropGrants(tenant: string, recipient: string): MaybePromise<void>;
  dropGrantsAt(tenant: string, numbers: readonly number[]): MaybePromise<void>;
  /** One that stands already stays as it is. */
  addShreds(tenant: string, rows: readonly ShredRow[]): MaybePromise<void>;
  /** For shreds alone: puts frames in place of those that lie at a position. */
  setFrames(
    tenant: string,
    events: readonly Pick<PlacedEvent, "position" | "frames">[],
  ): MaybePromise<void>;
  endShred(tenant: string, row: Pick<ShredRow, "scope" | "section">): MaybePromise<void>;
  /** A request that lies there already under the same code is not kept twice. */
  addQuarantine(row: QuarantineRow): MaybePromise<void>;
}

/**
 * What a caller has seen: a state that is older must not answer, and none in which the tenant's newest server log is
 * another one.
 */
export type SeenHead = ShardHead;

/** The storage itself; see the module header. Its methods throw the storage codes (`store_*`). */
export interface ServerStore {
  readonly capabilities: {
    /** The medium itself hides other tenants' rows from a transaction. */
    readonly isolated: boolean;
    /** `read` with `seen` may be answered by a copy that lags behind. */
    readonly replica: boolean;
  };
  /**
   * Reads that see one committed state; `tenant` is `undefined` for what is not of one yet (codes). With `seen` a
   * copy that may lag behind answers, as far as it has got there.
   */
  read<T>(
    tenant: string | undefined,
    work: (reads: ServerReads) => MaybePromise<T>,
    seen?: SeenHead,
  ): Promise<T>;
  /**
   * One write transaction: committed and durable when it resolves, undone when `work` throws. What the medium
   * undoes of itself may be tried again: `work` then runs once more from the beginning.
   */
  write<T>(tenant: string | undefined, work: (tx: ServerWrites) => MaybePromise<T>): Promise<T>;
  /** Can writes be taken, and kept as promised? Throws when not. */
  check(): Promise<void>;
  /**
   * Calls `listener` with the tenant's head when other processes placed events; returns the end of it. Hints: some
   * are late. Absent where one process has the store for itself.
   */
  readonly watch?: (tenant: string, listener: (head: number) => void) => () => void;
  close(): MaybePromise<void>;
}

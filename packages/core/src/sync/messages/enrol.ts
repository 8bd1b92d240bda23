/**
 * `POST /v1/enrol`: a device presents a code, its opening and a proof that the opening is in its log. Needs no
 * token. Codes are used once and expire.
 *
 * The code's secret never reaches the server: it gets `proof` = b64u(HMAC(secret, "holdfast/enrol/v1")), whose
 * SHA-256 it was given when the code was made, and `binding` = b64u(HMAC(secret, "holdfast/device/v1\n" ‖
 * opening header)), which only whoever made the code can check. So an admin device knows that the device which
 * answered the invitation is the one that holds the code, whatever the server says.
 */
import type { Bytes } from "../../std/bytes.ts";
import type { ProvenLeaf } from "../../proof/server-leaf.ts";
import type { Role } from "../../event/system.ts";

/** `POST /v1/enrol`: code, first event of the log, and the proof that it is the first. */
export interface EnrolRequest {
  readonly proof: string;
  readonly binding: string;
  /** Text of the `IncarnationOpened` header that begins the device log. */
  readonly opening: string;
  /** Commit note over the device log, of any size ≥ 1. */
  readonly note: string;
  /** Inclusion path of index 0 in that note's tree. */
  readonly path: readonly Bytes[];
}

/** What a device becomes a part of, with the `enrol` leaf proven in the checkpoint beside it. */
export interface EnrolAnswer {
  readonly tenant: string;
  readonly device: string;
  readonly role: Role;
  /** Device id that founded the tenant: the root of what `access` events allow. */
  readonly founder: string;
  readonly enrolment: ProvenLeaf;
  /** Newest checkpoint of the shard's server log: C2SP signed note. */
  readonly checkpoint: string;
  /** Device id of the server's node for this tenant; its opening is pulled like any other. */
  readonly node: string;
}

/** `POST /v1/codes` (admin): registers an invitation that this device has made. */
export interface CodeRequest {
  /** SHA-256 of `proof`, base64url. */
  readonly digest: string;
  readonly role: Role;
  /** UTC milliseconds by the server's clock. */
  readonly expires: number;
}

/** `GET /v1/devices`: every enrolled device of the tenant. */
export interface EnrolledDevice {
  readonly device: string;
  readonly role: Role;
  readonly status: "active" | "revoked";
  /** UTC milliseconds. */
  readonly enrolledAt: number;
  /** Digest of the code that it was enrolled with, and what it bound; absent for the founder and the node. */
  readonly code?: string;
  readonly binding?: string;
  readonly logs: readonly {
    readonly incarnation: string;
    readonly size: number;
    readonly receivedAt: number;
    /** Last receipted size at revocation. */
    readonly cutoff?: number;
    readonly opening: string;
  }[];
}

/** `POST /v1/devices/revoke` (admin). */
export interface RevokeRequest {
  readonly device: string;
  /** Reason code. */
  readonly why: string;
}

/** System events of this device as drafts for the writer: about access, keys, holds and shreds. */
import {
  accessGrantedType,
  accessRevokedType,
  erasureCertifiedType,
  keyGrantedType,
  shredAcknowledgedType,
  systemPubFault,
} from "../event/system.ts";
import { HoldfastError, invariant } from "../std/errors.ts";
import type { PreparedDraft } from "../store/append.ts";
import type { SqliteDriver } from "../store/sqlite-driver.ts";
import type { AccessDraft } from "../sync/grant-store.ts";
import { tenantWords } from "../sync/invitations.ts";
import type { ShredDraft } from "./shred-draft.ts";

/** Stream words: all access events stand in one stream, so that their vectors order them. */
const accessWords = "holdfast/access";

/** Device and actor of a store's own events: those of its first one. */
export function ownNames(driver: SqliteDriver): {
  readonly device: string;
  readonly actor: string;
} {
  const row = driver
    .prepare(
      `SELECT device, actor FROM events
       JOIN incarnations ON incarnations.number = events.incarnation
       WHERE own = 1 AND sequence = 1 ORDER BY position LIMIT 1`,
    )
    .get<{ device: string; actor: string }>();
  invariant(row !== undefined, "a store that is open has its first event");
  return row;
}

/** Key events, acknowledgements and certificates commute: they have streams of their own. */
function streamOf(draft: AccessDraft | ShredDraft, device: string): string | undefined {
  if (draft.type === keyGrantedType) return `holdfast/keys/${draft.pub.device}`;
  const isOfDevice = draft.type === shredAcknowledgedType || draft.type === erasureCertifiedType;
  return isOfDevice ? `holdfast/shred/${device}` : undefined;
}

function operationOf({ type }: AccessDraft | ShredDraft): PreparedDraft["op"] {
  if (type === keyGrantedType) return "key";
  return type === accessGrantedType || type === accessRevokedType ? "access" : "shred";
}

/** A draft ready for the writer. Throws `draft_invalid`. */
export function systemDraft(
  draft: AccessDraft | ShredDraft,
  by: { readonly device: string; readonly actor: string },
  at: number,
): PreparedDraft {
  const { type, pub } = draft;
  const fault = systemPubFault(type, pub);
  if (fault !== undefined) {
    throw new HoldfastError("draft_invalid", { path: `/pub/${fault}`, reason: "not its form" });
  }
  const apart = streamOf(draft, by.device);
  return {
    id: undefined,
    type,
    typeVersion: 1,
    // What an access event says depends on those that its author had seen.
    concurrency: apart === undefined ? "exclusive" : "independent",
    stream: apart ?? accessWords,
    scope: tenantWords,
    site: "",
    op: operationOf(draft),
    ref: undefined,
    at,
    actor: by.actor,
    role: undefined,
    session: undefined,
    why: "why" in draft ? draft.why : undefined,
    // Whoever loses access, or gets it, shall not wait behind what is queued.
    lane: "urgent",
    sections: [],
    pub,
    bytes: 0,
    content: { data: undefined, text: undefined, occurredAt: undefined, reason: undefined },
  };
}

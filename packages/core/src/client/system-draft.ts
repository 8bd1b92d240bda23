/** System events of this device as drafts for the writer: about access, keys, holds and shreds. */
import {
  accessGrantedType,
  accessRevokedType,
  erasureCertifiedType,
  keyGrantedType,
  shredAcknowledgedType,
  systemPubFault,
} from "../event/system.ts";
import { HoldfastError } from "../std/errors.ts";
import type { PreparedDraft } from "../store/append.ts";
import type { OwnNames } from "../store/own-names.ts";
import type { AccessDraft } from "../sync/grant-store.ts";
import { tenantWords } from "../sync/invitations.ts";
import type { ShredDraft } from "./shred-draft.ts";

/** Stream words: all access events stand in one stream, so that their vectors order them. */
const accessWords = "holdfast/access";

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
  by: Pick<OwnNames, "device" | "actor">,
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

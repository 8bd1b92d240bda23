/** Events about holds and shreds, before they have their place. */
import type {
  ErasureCertifiedPub,
  HoldLiftedPub,
  HoldPlacedPub,
  ShredAcknowledgedPub,
  ShredApprovedPub,
  ShredRequestedPub,
} from "../event/system.ts";

/** One of them; `why` is a reason code. */
export type ShredDraft =
  | { readonly type: "HoldPlaced"; readonly pub: HoldPlacedPub; readonly why: string }
  | { readonly type: "HoldLifted"; readonly pub: HoldLiftedPub; readonly why: string }
  | { readonly type: "ShredRequested"; readonly pub: ShredRequestedPub; readonly why: string }
  | { readonly type: "ShredApproved"; readonly pub: ShredApprovedPub; readonly why?: string }
  | { readonly type: "ShredAcknowledged"; readonly pub: ShredAcknowledgedPub }
  | { readonly type: "ErasureCertified"; readonly pub: ErasureCertifiedPub; readonly why?: string };

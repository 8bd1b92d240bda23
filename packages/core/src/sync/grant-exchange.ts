/**
 * How keys get to whom they belong: after each sync, receive what others granted, act on access where this
 * device is an admin, and grant what others are due (spec/access.md).
 *
 * The exchange is safe to end anywhere and to run again: grants are applied once, sent ones are named in the
 * log before they leave, and what was wrapped and not sent goes on with the same text.
 */
import type { GrantStore } from "./grant-store.ts";
import { actAsAdmin } from "./invitations.ts";
import { receiveGrants } from "./receive-grants.ts";
import { sendGrants } from "./send-grants.ts";
import type { AbortSignalLike, Transport } from "./transport.ts";

/** What one exchange did. */
export interface GrantReport {
  /** Keys taken. */
  readonly received: number;
  readonly refused: number;
  /** Grants that wait for the event that names them. */
  readonly pending: number;
  readonly sent: number;
  /** Events appended, access and key events: there is something to push. */
  readonly appended: number;
}

/** One exchange of grants; the engine calls it after each pull. Throws what transport and append throw. */
export async function exchangeGrants(
  store: GrantStore,
  transport: Pick<Transport, "devices" | "grants" | "sendGrants">,
  token: string,
  signal?: AbortSignalLike,
): Promise<GrantReport> {
  const options = { token, ...(signal !== undefined && { signal }) };
  const { received, refused, pending } = await receiveGrants(store, transport, options);
  const acted = await actAsAdmin(store, transport, options);
  const { sent, appended } = await sendGrants(store, transport, options);
  return { received, refused, pending, sent, appended: acted + appended };
}

/**
 * Which shreds the events that were just placed put in force. The server folds the same events as every replica
 * (core `sync/access-fold.ts`), by the founder that it enrolled. What is in force stays so, whatever is placed later.
 */
import {
  base64url,
  type Crypto,
  foldAccess,
  type Header,
  holdPlacedType,
  isAccessType,
  leafHash,
  shredApprovedType,
  utf8,
} from "@holdfast/core";
import type { EventToPlace, ServerWrites, ShredRow, TenantRow } from "../server-store.ts";

/**
 * Whatever the fold reads but a new hold. In canonical order a request may stand before approvals that came first, and
 * what gives or takes the role of an admin before what that device said: a hold then never stood, an approval counts.
 */
const isDeciding = (type: string): boolean => isAccessType(type) && type !== holdPlacedType;

/** Records those that are new; answers whether there are any. In the transaction that placed the events. */
export async function putInForce(
  crypto: Pick<Crypto, "sha256">,
  tx: ServerWrites,
  { tenant, founder }: TenantRow,
  placed: readonly EventToPlace[],
): Promise<boolean> {
  const streams = placed.filter(({ type }) => isDeciding(type)).map(({ stream }) => stream);
  const rows: ShredRow[] = [];
  for (const stream of new Set(streams)) {
    const headers = await tx.headersOfStream(tenant, stream, Number.MAX_SAFE_INTEGER);
    // Most tenants have none: the fold is spared them.
    if (!headers.some(({ header }) => header.includes(shredApprovedType))) continue;
    rows.push(...inForce(crypto, headers, founder));
  }
  if (rows.length === 0) return false;
  const there = await tx.shreds(tenant, [...new Set(rows.map(({ scope }) => scope))]);
  const names = new Set(there.map(({ scope, section }) => `${scope}/${section}`));
  const fresh = rows.filter(({ scope, section }) => !names.has(`${scope}/${section}`));
  if (fresh.length > 0) await tx.addShreds(tenant, fresh);
  return fresh.length > 0;
}

function inForce(
  crypto: Pick<Crypto, "sha256">,
  headers: readonly { readonly header: string }[],
  founder: string,
): readonly ShredRow[] {
  const events = headers.map(({ header }) => ({
    leaf: base64url(leafHash(crypto, utf8(header))),
    header: JSON.parse(header) as Header,
  }));
  const { shreds } = foldAccess(events, founder);
  return [...shreds]
    .filter(([, shred]) => shred.inForce !== undefined)
    .flatMap(([shred, { scopes, section = "" }]) =>
      scopes.map((scope) => ({ scope, section, shred })),
    );
}

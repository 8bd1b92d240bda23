/** Access, grants and quarantine in a server's PostgreSQL. */
import type { Crypto } from "@holdfast/core";
import { textArray } from "./postgres-arrays.ts";
import { ownHead, type PostgresTransaction } from "./postgres-transaction.ts";
import type { ServerWrites } from "./server-store.ts";

export function accessWrites(
  crypto: Pick<Crypto, "sha256">,
  tx: PostgresTransaction,
): Pick<
  ServerWrites,
  "addAccessChange" | "setAccess" | "addGrants" | "dropGrants" | "addQuarantine"
> {
  return {
    addAccessChange(tenant, { device, position, kind, scopes, by, index }) {
      tx.send(
        1,
        `INSERT INTO holdfast.access_changes
           (tenant, device, position, kind, scopes, origin, leaf_index)
         VALUES ($1, $2, $3, $4, $5, $6, $7)`,
        tenant,
        device,
        position,
        kind,
        JSON.stringify(scopes),
        by,
        index,
      );
    },
    setAccess(tenant, device, scopes) {
      tx.send(
        undefined,
        "DELETE FROM holdfast.access WHERE tenant = $1 AND device = $2",
        tenant,
        device,
      );
      const distinct = [...new Set(scopes)];
      tx.send(
        distinct.length,
        `INSERT INTO holdfast.access (tenant, device, scope)
         SELECT $1, $2, given.scope FROM unnest($3::text[]) AS given (scope)`,
        tenant,
        device,
        textArray(distinct),
      );
    },
    addGrants: (tenant, grants) => addGrants(tx, tenant, grants),
    dropGrants(tenant, recipient) {
      tx.send(
        undefined,
        "DELETE FROM holdfast.grants WHERE tenant = $1 AND recipient = $2",
        tenant,
        recipient,
      );
    },
    addQuarantine(row) {
      tx.send(
        undefined,
        `INSERT INTO holdfast.quarantine
           (tenant, number, device, incarnation, code, note, first, digest, bytes, at)
         SELECT $1, coalesce(max(held.number), 0) + 1, $2, $3, $4, $5, $6::bigint, $7::bytea,
           $8::bytea, $9::bigint
         FROM holdfast.quarantine AS held WHERE held.tenant = $1
         ON CONFLICT (tenant, code, digest) DO NOTHING`,
        row.tenant,
        row.device,
        row.incarnation,
        row.code,
        row.note,
        row.from,
        crypto.sha256(row.bytes),
        row.bytes,
        row.at,
      );
    },
  };
}

/** The same text once; another wrap of the same key takes the place of the one before, with a new number. */
async function addGrants(
  tx: PostgresTransaction,
  tenant: string,
  grants: Parameters<ServerWrites["addGrants"]>[1],
): Promise<void> {
  const head = await ownHead(tx, tenant);
  let number = head.grants;
  for (const { recipient, key, generation, grant } of grants) {
    tx.send(
      undefined,
      `DELETE FROM holdfast.grants WHERE tenant = $1 AND recipient = $2 AND key = $3
         AND generation = $4 AND wrapped <> $5`,
      tenant,
      recipient,
      key,
      generation,
      grant,
    );
    number += 1;
    tx.send(
      undefined,
      `INSERT INTO holdfast.grants (tenant, number, recipient, key, generation, wrapped)
       VALUES ($1, $2, $3, $4, $5, $6)
       ON CONFLICT (tenant, recipient, key, generation) DO NOTHING`,
      tenant,
      number,
      recipient,
      key,
      generation,
      grant,
    );
  }
  tx.moveHead({ ...head, grants: number });
}

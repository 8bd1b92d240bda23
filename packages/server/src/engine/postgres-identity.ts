/** Which server a database belongs to: the one with whose name and keys it was first opened, on any number of nodes. */
import { HoldfastError } from "@holdfast/core";
import type { PostgresDriver } from "./postgres-driver.ts";

/** Digests of what the nodes of one server have in common. */
export interface ServerIdentity {
  readonly checkpointKey: string;
  readonly name: string;
  readonly tokenKey: string;
  readonly nodeKey: string;
}

/**
 * Claims a new database for the server with that identity. Throws `server_keys_foreign` naming the part in which the
 * database is another one's.
 */
export async function claimDatabase(
  driver: PostgresDriver,
  identity: ServerIdentity,
): Promise<void> {
  // In this order: who does not have the checkpoint key claims nothing else.
  await claim(driver, "checkpoint_key", identity.checkpointKey);
  await claim(driver, "name", identity.name);
  await claim(driver, "token_key", identity.tokenKey);
  await claim(driver, "node_key", identity.nodeKey);
}

async function claim(driver: PostgresDriver, part: string, digest: string): Promise<void> {
  const found = await driver.lend(async (connection) => {
    await connection.run(
      `INSERT INTO holdfast.server_identity (part, digest) VALUES ($1, $2)
       ON CONFLICT (part) DO NOTHING`,
      part,
      digest,
    );
    return connection.rows<{ digest: string }>(
      "SELECT digest FROM holdfast.server_identity WHERE part = $1",
      part,
    );
  });
  if (found[0]?.digest !== digest) throw new HoldfastError("server_keys_foreign", { part });
}

/** Which server a database belongs to: the one that holds the checkpoint key with which it was first opened. */
import { HoldfastError } from "@holdfast/core";
import type { PostgresDriver } from "./postgres-driver.ts";

/** Claims a new database for the key with that digest. Throws `store_foreign` for the database of another. */
export async function claimDatabase(driver: PostgresDriver, keyDigest: string): Promise<void> {
  const found = await driver.lend(async (connection) => {
    await connection.run(
      `INSERT INTO holdfast.server_identity (part, digest) VALUES ('checkpoint_key', $1)
       ON CONFLICT (part) DO NOTHING`,
      keyDigest,
    );
    return connection.rows<{ digest: string }>(
      "SELECT digest FROM holdfast.server_identity WHERE part = 'checkpoint_key'",
    );
  });
  if (found[0]?.digest !== keyDigest) throw new HoldfastError("store_foreign");
}

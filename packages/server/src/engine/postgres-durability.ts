/** Whether an acknowledged write is on a second machine: asked in the write, before it commits. */
import { HoldfastError, isHoldfastError } from "@holdfast/core";
import type { PostgresConnection, PostgresDriver } from "./postgres-driver.ts";
import { applicationRole } from "./postgres-schema.ts";

/** Lets the server's role see standbys. Whoever may not give that right leaves it to the operator. */
export async function showStandbys(owner: PostgresDriver): Promise<void> {
  try {
    await owner.lend((connection) =>
      connection.exec(`GRANT pg_read_all_stats TO ${applicationRole}`),
    );
  } catch (error) {
    if (!isHoldfastError(error, "store_constraint")) throw error;
  }
}

/**
 * Throws `durability_unmet` unless the commit that follows waits for a synchronous standby and one is connected.
 * Without the right to see standbys (`pg_read_all_stats`) none is seen, and that refuses too.
 */
export async function checkStandby(connection: PostgresConnection): Promise<void> {
  const [row] = await connection.rows<{ names: string; level: string; standbys: number }>(
    `SELECT current_setting('synchronous_standby_names') AS names,
       current_setting('synchronous_commit') AS level,
       (SELECT count(*) FROM pg_stat_replication
        WHERE state = 'streaming' AND sync_state IN ('sync', 'quorum')) AS standbys`,
  );
  if (row === undefined || row.names === "") throw unmet("synchronous_standby_names");
  if (row.level !== "on" && row.level !== "remote_apply") throw unmet("synchronous_commit");
  if (row.standbys === 0) throw unmet("standby");
}

function unmet(part: string): HoldfastError {
  return new HoldfastError("durability_unmet", { part });
}

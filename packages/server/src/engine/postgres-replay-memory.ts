/** Used assertions where all nodes look: a row for each, until it has expired. */
import type { PostgresConnection, PostgresDriver } from "./postgres-driver.ts";
import { setTenant } from "./postgres-session.ts";
import type { ReplayMemory, UsedAssertion } from "./replay-memory.ts";

/** How often a node takes away what has expired of a tenant. */
const forgetMs = 60_000;
const tenantsMax = 10_000;

/** Remembered in the database. */
export function createPostgresReplayMemory(driver: PostgresDriver): ReplayMemory {
  const forgotten = new Map<string, number>();

  /** Apart from the use: two that take away the same rows may be in each other's way. */
  async function forget({ tenant, now }: UsedAssertion): Promise<void> {
    if (now < (forgotten.get(tenant) ?? 0) + forgetMs) return;
    if (forgotten.size >= tenantsMax) forgotten.clear();
    forgotten.set(tenant, now);
    await driver.lend((connection) =>
      inTenant(connection, tenant, () =>
        connection.run(
          "DELETE FROM holdfast.used_assertions WHERE tenant = $1 AND until <= $2",
          tenant,
          now,
        ),
      ),
    );
  }

  return {
    async use(assertion, admit) {
      const { tenant, name, until } = assertion;
      const fresh = await driver.lend((connection) =>
        inTenant(connection, tenant, async () => {
          const used = await connection.rows(
            "SELECT name FROM holdfast.used_assertions WHERE tenant = $1 AND name = $2",
            tenant,
            name,
          );
          if (used.length > 0) return false;
          admit();
          const added = await connection.run(
            `INSERT INTO holdfast.used_assertions (tenant, name, until) VALUES ($1, $2, $3)
             ON CONFLICT (tenant, name) DO NOTHING`,
            tenant,
            name,
            until,
          );
          return added === 1;
        }),
      );
      // What was not taken away now is at a later use.
      forget(assertion).catch(() => undefined);
      return fresh;
    },
  };
}

async function inTenant<T>(
  connection: PostgresConnection,
  tenant: string,
  work: () => Promise<T>,
): Promise<T> {
  await connection.exec(`BEGIN; ${setTenant(tenant)}`);
  try {
    const result = await work();
    await connection.exec("COMMIT");
    return result;
  } catch (error) {
    await connection.exec("ROLLBACK").catch(() => undefined);
    throw error;
  }
}

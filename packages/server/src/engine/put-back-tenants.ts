/** Tenants that this process has refused because the database is an older copy: it is not ready while there are any. */
import { HoldfastError, isHoldfastError } from "@holdfast/core";
import type { EngineDeps } from "./engine-deps.ts";

/** What was met since this process began. */
export interface PutBackTenants {
  /** What that request for the tenant came to, remembered where it was refused for that. */
  noted<T>(tenant: string, work: Promise<T>): Promise<T>;
  /** Throws `server_put_back` while the log of one of them has not gone on in the next one. */
  check(): Promise<void>;
}

export function createPutBackTenants({ store }: Pick<EngineDeps, "store">): PutBackTenants {
  const met = new Set<string>();
  const isStopped = (tenant: string): Promise<boolean> =>
    store.read(tenant, async (reads) => {
      const row = await reads.tenant(tenant);
      if (row === undefined) return false;
      const { log } = await reads.head(row.shard);
      return (await reads.shownLog(row.shard)) >= log;
    });
  return {
    async noted(tenant, work) {
      try {
        return await work;
      } catch (error) {
        if (isHoldfastError(error, "server_put_back")) met.add(tenant);
        throw error;
      }
    },
    async check() {
      for (const tenant of met) {
        if (await isStopped(tenant)) throw new HoldfastError("server_put_back");
        met.delete(tenant);
      }
    },
  };
}

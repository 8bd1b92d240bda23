/** The sync desk of a store as commands use it: over connections that end with the command. */
import type { Holdfast, SyncDesk } from "@holdfast/core";
import { createNodeHttp, syncDesk } from "@holdfast/node";

export async function withDesk<T>(
  store: Holdfast,
  use: (desk: SyncDesk) => Promise<T>,
): Promise<T> {
  const http = createNodeHttp();
  try {
    return await use(syncDesk(store, http));
  } finally {
    http.close();
  }
}

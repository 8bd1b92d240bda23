/** What sync keeps, row by row as it is stored, for the verifier. */
import type { CheckpointRow, ProofRow, ServerLeafRow, SyncRows } from "../proof/log-source.ts";
import type { SqliteDriver } from "../store/sqlite-driver.ts";

export function createSyncRows(driver: SqliteDriver): SyncRows {
  const ofLog = "WHERE incarnations.device = ? AND incarnations.incarnation = ?";
  const joined = (table: string): string =>
    `${table} JOIN incarnations ON incarnations.number = ${table}.incarnation`;
  const value = (name: string): string | undefined =>
    driver.prepare("SELECT value FROM sync WHERE name = ?").get<{ value: string }>(name)?.value;
  return {
    server() {
      const text = value("server");
      try {
        const key: unknown = (JSON.parse(text ?? "{}") as { readonly key?: unknown } | null)?.key;
        return typeof key === "string" ? { key } : undefined;
      } catch {
        return undefined;
      }
    },
    checkpoints: () =>
      driver
        .prepare("SELECT log, size, root, note, before, path FROM checkpoints ORDER BY rowid")
        .all<CheckpointRow>(),
    serverLeaves: (device, incarnation) =>
      driver
        .prepare(
          `SELECT kind, size, leaf, log, leaf_index AS leafIndex, log_size AS logSize, path
           FROM ${joined("server_leaves")} ${ofLog} ORDER BY server_leaves.number`,
        )
        .all<ServerLeafRow>(device, incarnation),
    links: (device, incarnation) =>
      driver
        .prepare(`SELECT before, size, path FROM ${joined("note_links")} ${ofLog}`)
        .all<{ before: number; size: number; path: Uint8Array }>(device, incarnation),
    proofs: (device, incarnation) =>
      driver
        .prepare(
          `SELECT size, indices, hashes FROM ${joined("proofs")} ${ofLog} ORDER BY proofs.number`,
        )
        .all<ProofRow>(device, incarnation),
    pulled() {
      const rows = driver.prepare("SELECT position FROM pulls").all<{ position: number }>();
      const head = Number(value("pull_head") ?? 0);
      return { head, positions: rows.map(({ position }) => position) };
    },
  };
}

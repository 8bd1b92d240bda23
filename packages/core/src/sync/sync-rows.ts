/** What sync keeps, row by row as it is stored, for the verifier. */
import type {
  CheckpointRow,
  EpochRow,
  ProofRow,
  ServerLeafRow,
  SyncRows,
} from "../proof/log-source.ts";
import { fromBase64 } from "../std/bytes.ts";
import type { SqliteDriver } from "../store/sqlite-driver.ts";

/** `reading` is told what is read, so that what cannot be read has a name. */
export function createSyncRows(driver: SqliteDriver, reading: (object: string) => void): SyncRows {
  const prepare = (table: string, sql: string) => {
    reading(`table ${table}`);
    return driver.prepare(sql);
  };
  const ofLog = "WHERE incarnations.device = ? AND incarnations.incarnation = ?";
  const joined = (table: string): string =>
    `${table} JOIN incarnations ON incarnations.number = ${table}.incarnation`;
  const value = (name: string): string | undefined =>
    prepare("sync", "SELECT value FROM sync WHERE name = ?").get<{ value: string }>(name)?.value;
  function newerRows(prefix: string) {
    return prepare("sync", "SELECT value FROM sync WHERE name >= ? AND name < ?")
      .all<{ value: string }>(prefix, `${prefix}\uFFFF`)
      .map((row) => JSON.parse(row.value) as { index: number; leaf: string; stream: string });
  }
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
      prepare(
        "checkpoints",
        "SELECT log, size, root, note, before, path FROM checkpoints ORDER BY rowid",
      ).all<CheckpointRow>(),
    epochs: () =>
      prepare("sync", "SELECT name, value FROM sync WHERE name GLOB 'epoch/*' ORDER BY name")
        .all<{ name: string; value: string }>()
        .map(({ name, value: text }) => epochRow(name.slice("epoch/".length), text)),
    serverLeaves: (device, incarnation) =>
      prepare(
        "server_leaves",
        `SELECT kind, size, leaf, log, leaf_index AS leafIndex, log_size AS logSize, path
           FROM ${joined("server_leaves")} ${ofLog} ORDER BY server_leaves.number`,
      ).all<ServerLeafRow>(device, incarnation),
    links: (device, incarnation) =>
      prepare("note_links", `SELECT before, size, path FROM ${joined("note_links")} ${ofLog}`).all<{
        before: number;
        size: number;
        path: Uint8Array;
      }>(device, incarnation),
    proofs: (device, incarnation) =>
      prepare(
        "proofs",
        `SELECT size, indices, hashes FROM ${joined("proofs")} ${ofLog} ORDER BY proofs.number`,
      ).all<ProofRow>(device, incarnation),
    newer(device, incarnation) {
      const prefix = `newer/${device}/${incarnation}/`;
      return newerRows(prefix).map(({ index, leaf }) => ({ index, leaf }));
    },
    newerStreams: () => newerRows("newer/").map(({ stream }) => stream),
    pulled() {
      const rows = prepare("pulls", "SELECT position FROM pulls").all<{ position: number }>();
      const head = Number(value("pull_head") ?? 0);
      return { head, positions: rows.map(({ position }) => position) };
    },
  };
}

/** Whatever stands there makes a row: what does not fit proves nothing. */
function epochRow(log: string, text: string): EpochRow {
  let kept: Readonly<Record<string, unknown>> = {};
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null) kept = value as typeof kept;
  } catch {
    // A row that cannot be read is one that says nothing.
  }
  const textOf = (name: string): string => (typeof kept[name] === "string" ? kept[name] : "");
  const bytesOf = (name: string): Uint8Array => fromBase64(textOf(name)) ?? new Uint8Array(1);
  const sizeOf = (name: string): number => (typeof kept[name] === "number" ? kept[name] : -1);
  return {
    log,
    leaf: textOf("leaf"),
    path: bytesOf("path"),
    logSize: sizeOf("size"),
    last: textOf("last"),
    consistency: bytesOf("consistency"),
  };
}

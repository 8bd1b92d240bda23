/**
 * Plain SQLite appender for the self-tests: FOLDER SYNCHRONOUS COUNT [CHANNEL [aegis]]. Appends rows 1, 2, … and
 * acknowledges each after its COMMIT, on `<folder>/.ack` or (CHANNEL `stdout`) as lines. COUNT 0 never ends.
 * With an I/O error it prints `error CODE` and goes on with the next row.
 */
import { writeSync } from "node:fs";
import { join } from "node:path";
import { openAcknowledgements } from "../power-loss/run.ts";
import { openDatabase } from "../sqlite.ts";

const [folder = "", synchronous = "FULL", count = "0", channel = "ack", cipher = ""] =
  process.argv.slice(2);
const acknowledge =
  channel === "stdout"
    ? (line: string): void => void writeSync(1, `${line}\n`)
    : openAcknowledgements(folder).acknowledge;

try {
  const db = openDatabase(join(folder, "rows.db"), cipher !== "");
  db.pragma("journal_mode=WAL");
  db.pragma(`synchronous=${synchronous}`);
  db.pragma("wal_autocheckpoint=40");
  db.exec("CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, body TEXT) STRICT");
  const last = db.prepare("SELECT coalesce(max(id), 0) AS id FROM rows").get();
  const insert = db.prepare("INSERT INTO rows VALUES (?, ?)");
  const end = Number(count) || Number.POSITIVE_INFINITY;
  const first = (last as { readonly id: number }).id + 1;
  for (let id = first; id < first + end; id += 1) {
    try {
      insert.run(id, `row ${id} `.repeat(1 + ((id * 37) % 120)));
      acknowledge(String(id));
    } catch (error) {
      writeSync(1, `error ${(error as { readonly code?: string }).code ?? String(error)}\n`);
    }
  }
  db.close();
} catch (error) {
  writeSync(1, `error ${(error as { readonly code?: string }).code ?? String(error)}\n`);
}

/**
 * Writes markers in one of the ways that a check for plaintext must see: HOW FOLDER MARKER, where HOW is
 * `deleted` (temporary file without a name), `split` (over two writes), `async` (another thread), `large`
 * (behind two megabytes), `pipe` (standard output only: not a file), or `sort:file`, `sort:memory`
 * (an encrypted SQLite database that sorts with that `temp_store`).
 */
import { promises as fs, openSync, unlinkSync, writeSync } from "node:fs";
import { join } from "node:path";
import { openDatabase } from "../sqlite.ts";

const [how = "", folder = "", marker = ""] = process.argv.slice(2);

function sort(tempStore: string): void {
  const db = openDatabase(join(folder, "rows.db"), true);
  db.pragma("journal_mode=WAL");
  db.pragma(`temp_store=${tempStore}`);
  db.pragma("cache_size=-100");
  db.exec("CREATE TABLE rows (id INTEGER PRIMARY KEY, body TEXT) STRICT");
  const insert = db.prepare("INSERT INTO rows VALUES (?, ?)");
  db.exec("BEGIN");
  for (let id = 0; id < 4_000; id += 1)
    insert.run(id, `${(id * 7919) % 4_000} ${marker} ${"x".repeat(800)}`);
  db.exec("COMMIT");
  db.prepare(
    "SELECT count(*) FROM (SELECT body FROM rows ORDER BY body DESC LIMIT -1 OFFSET 1)",
  ).get();
  db.exec("CREATE INDEX by_body ON rows (body)");
  db.close();
}

if (how.startsWith("sort:")) sort(how.slice("sort:".length));
else if (how === "pipe") writeSync(1, marker);
else if (how === "async") await fs.writeFile(join(folder, "async"), `before ${marker} behind`);
else {
  const path = join(folder, "temporary");
  const descriptor = openSync(path, "w");
  unlinkSync(path);
  if (how === "large") writeSync(descriptor, "x".repeat(2 * 1_048_576) + marker);
  else if (how === "split") {
    writeSync(descriptor, marker.slice(0, 5));
    writeSync(descriptor, marker.slice(5));
  } else writeSync(descriptor, marker);
}

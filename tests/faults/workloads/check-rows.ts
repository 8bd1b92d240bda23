/** What the self-tests demand of the appender's database: it opens, is whole, and has every promised row. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { openDatabase } from "../sqlite.ts";

/** Problems in words, empty when there are none. */
export function checkRows(
  folder: string,
  acknowledged: readonly string[],
  encrypted = false,
): readonly string[] {
  const path = join(folder, "rows.db");
  if (acknowledged.length === 0 && !existsSync(path)) return [];
  const db = openDatabase(path, encrypted);
  try {
    const problems: string[] = [];
    const health = db.pragma("integrity_check", { simple: true });
    if (health !== "ok") problems.push(`integrity_check: ${String(health)}`);
    if (acknowledged.length === 0) return problems;
    const made = db.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'rows'").get() !== undefined;
    const found = made ? db.prepare("SELECT id FROM rows").all() : [];
    const rows = new Set(found.map((row) => (row as { readonly id: number }).id));
    const lost = acknowledged.filter((line) => !rows.has(Number(line)));
    if (lost.length > 0) problems.push(`lost ${lost.length} acknowledged rows, first ${lost[0]}`);
    return problems;
  } finally {
    db.close();
  }
}

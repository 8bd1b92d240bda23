/**
 * CSV (RFC 4180) that a spreadsheet cannot run: a cell that begins with `=`, `+`, `-`, `@` (or their
 * full-width forms), tab, carriage return or line feed gets a leading apostrophe (OWASP, CSV injection). Numbers are written by this program and stay.
 */

const dangerous = /^[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/;
const quoted = /[",\r\n]/;

function csvCell(value: unknown): string {
  if (value === undefined || value === null) return "";
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  const text = typeof value === "string" ? value : JSON.stringify(value);
  const safe = dangerous.test(text) ? `'${text}` : text;
  return quoted.test(safe) || safe !== text ? `"${safe.replaceAll('"', '""')}"` : safe;
}

export function csvLine(cells: readonly unknown[]): string {
  return `${cells.map(csvCell).join(",")}\r\n`;
}

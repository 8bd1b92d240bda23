/** Exports one store in one format to nowhere and prints what it took: resident memory before, and its peak. */
import { join } from "node:path";
import { keepMemorySmall, openStore } from "@holdfast/node";
import { diaryFhir, exportFhir } from "@holdfast/packs";
import { tablePieces } from "./commands/export.ts";
import { eventTable } from "./rows.ts";
import { projections, registry } from "./store.ts";

keepMemorySmall();
const [folder = "", format = ""] = process.argv.slice(2);
const store = await openStore({
  directory: join(folder, "store"),
  stateDirectory: join(folder, "state"),
  passphrase: process.env["HOLDFAST_PASSPHRASE"] ?? "",
  registry,
  projections,
  readOnly: true,
});
const mebibytes = (bytes: number): number => Math.round(bytes / 1_048_576);
// The key derivation alone takes 64 MiB and gives them back.
(globalThis as { readonly gc?: () => void }).gc?.();
const base = process.memoryUsage.rss();
let [peak, bytes, pieces] = [base, 0, 0];
const all =
  format === "fhir"
    ? exportFhir(store, { models: [diaryFhir] })
    : tablePieces(format as "csv", eventTable(store, {}, true));
for (const piece of all) {
  bytes += typeof piece === "string" ? Buffer.byteLength(piece) : piece.byteLength;
  pieces += 1;
  if (pieces % 64 === 0 || format === "parquet") peak = Math.max(peak, process.memoryUsage.rss());
}
console.log(JSON.stringify({ baseMiB: mebibytes(base), peakMiB: mebibytes(peak), bytes }));
await store.close();

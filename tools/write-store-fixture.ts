/**
 * Writes a store in the format of this release into `tests/fixtures/store-format-<n>`, for the releases after it: run
 * once when a format is released, never again. Its folder is named after the format, which is compared with the code.
 */
import { cpSync, existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { createRegistry, storeFormat } from "@holdfast/core";
import { initStore, openStore } from "@holdfast/node";
import { packEvents, packProjections } from "@holdfast/packs";
import { root } from "./project.ts";

const folder = join(root, "tests", "fixtures", `store-format-${storeFormat}`);
if (existsSync(folder)) throw new Error(`${folder} is there: a released fixture stays as it is`);
// Marks hold the path of the store: that of no machine that anybody works on.
const ward = "/srv/ward";
if (existsSync(ward)) throw new Error(`${ward} is there: it is where the store is made`);
const place = { directory: join(ward, "store"), stateDirectory: join(ward, "state") };
const passphrase = `fixture of format ${storeFormat}`;

await initStore({ ...place, passphrase, tenant: "Fixture" });
const store = await openStore({
  ...place,
  passphrase,
  registry: createRegistry(packEvents),
  projections: packProjections,
  app: "holdfast/0.1.0",
});
const series = { stream: "vital-sign/ada/heart_rate", scope: "ada", actor: "nurse/7" };
for (let day = 1; day <= 28; day++) {
  const measured_at = `2026-03-${String(day).padStart(2, "0")}T08:00:00+01:00`;
  const data = { kind: "heart_rate", measured_at, value: 60 + (day % 9), unit: "/min" };
  await store.append({ type: "VitalSignMeasured", ...series, data });
}
const [first] = store.history(series.stream);
if (first !== undefined) {
  const data = { ...(first.event.data as object), value: 71 };
  await store.amend(first.event.leaf, { actor: "nurse/7", why: "misread", data });
}
await store.append({
  type: "NosebleedRecorded",
  stream: "diary/evening",
  scope: "ada",
  actor: "ada",
  data: { started_at: "2026-03-02T19:10:00+01:00", severity: "dripping", duration_minutes: 10 },
});
const report = store.verify();
await store.close();
for (const suffix of ["-wal", "-shm"])
  rmSync(`${place.directory}/store.db${suffix}`, { force: true });
cpSync(ward, folder, { recursive: true });
rmSync(ward, { recursive: true });
console.log(`${folder}: ${report.events} events, ${report.ok ? "verified" : "PROBLEMS"}`);

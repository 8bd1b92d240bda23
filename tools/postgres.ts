/** A PostgreSQL to try a server with: starts one in a temporary folder, prints its address, ends it with Ctrl-C. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInstance } from "../tests/postgres/instance.ts";

const folder = mkdtempSync(join(tmpdir(), "holdfast-postgres-"));
const instance = createInstance(folder);
await instance.start();
console.log(`export DATABASE_URL='${instance.url("postgres")}'`);
console.log("Ctrl-C ends it and takes its files away.");
await new Promise<void>((resolve) => {
  process.once("SIGINT", resolve).once("SIGTERM", resolve);
});
await instance.stop();
rmSync(folder, { recursive: true });

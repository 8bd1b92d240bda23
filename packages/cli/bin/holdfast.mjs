#!/usr/bin/env node
// Starts the command on a Node that can run it. Inside the workspace the TypeScript sources run as they are,
// which takes Node 24.12; `npm ci` puts that one into node_modules/.bin when the machine has an older one.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const source = join(here, "../src/main.ts");
const built = join(here, "../dist/main.js");
const fromSource = existsSync(source);
const main = fromSource ? source : built;
const flags = fromSource ? ["--conditions=@holdfast/source"] : [];

const [major, minor] = process.versions.node.split(".").map(Number);
const newEnough = major > 24 || (major === 24 && minor >= 12);

/** Node 24 that npm linked beside this package, or undefined. */
function linkedNode() {
  const name = process.platform === "win32" ? "node.exe" : "node";
  for (let folder = here; ; folder = dirname(folder)) {
    const candidates = [
      join(folder, "node_modules/.bin", name),
      join(
        folder,
        `node_modules/node-${process.platform === "win32" ? "win" : process.platform}-${process.arch}/bin`,
        name,
      ),
    ];
    const found = candidates.find((path) => existsSync(path));
    if (found !== undefined) return found;
    if (dirname(folder) === folder) return undefined;
  }
}

/** A child in this process's place: its streams, its signals, its end. */
function become(node) {
  // The child ends with this process (the channel closes), even when this one is killed at once.
  const child = spawn(node, [...flags, main, ...process.argv.slice(2)], {
    stdio: ["inherit", "inherit", "inherit", "ipc"],
  });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"])
    process.on(signal, () => child.kill(signal));
  child.on("error", (error) => {
    console.error(`holdfast: ${node} cannot be started (${error.code ?? "unknown"})`);
    process.exit(70);
  });
  child.on("exit", (code, signal) => {
    if (signal === null) process.exit(code ?? 70);
    for (const name of ["SIGINT", "SIGTERM", "SIGHUP"]) process.removeAllListeners(name);
    process.kill(process.pid, signal);
  });
}

if (newEnough && !fromSource) {
  await import(pathToFileURL(main).href);
} else if (newEnough && typeof process.execve === "function") {
  process.execve(process.execPath, [process.execPath, ...flags, main, ...process.argv.slice(2)]);
} else {
  const node = newEnough ? process.execPath : linkedNode();
  if (node === undefined) {
    console.error(
      `holdfast needs Node 24.12 or newer; this is ${process.versions.node}. ` +
        "Install it, or run npm ci in the workspace without --omit=optional.",
    );
    process.exit(70);
  }
  become(node);
}

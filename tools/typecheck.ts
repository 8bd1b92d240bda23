/** Type-checks every package in its own world of types, then tests and tools together. */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { packageFolders, root } from "./project.ts";

const compiler = join(root, "node_modules/@typescript/native/bin/tsc");
const cache = join(root, "node_modules/.cache/typecheck");

const projects = [...packageFolders().map((folder) => `packages/${folder}`), "."].filter((folder) =>
  existsSync(join(root, folder, "tsconfig.json")),
);

const results = projects.map(
  (folder) =>
    new Promise<boolean>((resolve) => {
      // What did not change since the last time is not checked again.
      const known = join(cache, `${folder.replace("/", "-")}.tsbuildinfo`);
      const args = [compiler, "-p", folder, "--incremental", "--tsBuildInfoFile", known];
      const child = spawn(process.execPath, args, {
        cwd: root,
        stdio: "inherit",
      });
      child.on("exit", (code) => {
        if (code !== 0) console.error(`typecheck: ${folder} has errors`);
        resolve(code === 0);
      });
    }),
);
const passed = await Promise.all(results);
console.log(`typecheck: ${passed.length} projects`);
process.exitCode = passed.every(Boolean) ? 0 : 1;

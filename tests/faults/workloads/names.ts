/**
 * Replaces `sub/value` by rename and promises each new value: FOLDER HOW, where HOW says what is synced
 * (`file+folder`, `file`, `folder`). Asynchronous calls on purpose: they run on other threads.
 */
import { mkdirSync, promises as fs, openSync, fsyncSync, closeSync } from "node:fs";
import { join } from "node:path";
import { openAcknowledgements } from "../power-loss/run.ts";

const [folder = "", how = ""] = process.argv.slice(2);
const { acknowledge } = openAcknowledgements(folder);
const sub = join(folder, "sub");
const syncFolder = (path: string): void => {
  const descriptor = openSync(path, "r");
  fsyncSync(descriptor);
  closeSync(descriptor);
};

mkdirSync(sub);
syncFolder(folder);
for (let value = 1; value <= 20; value += 1) {
  const next = join(sub, "value.next");
  await fs.writeFile(next, String(value), { flush: how.includes("file") });
  await fs.rename(next, join(sub, "value"));
  if (how.includes("folder")) syncFolder(sub);
  acknowledge(String(value));
}
await fs.copyFile(join(sub, "value"), join(sub, "copy"));
await fs.rm(join(sub, "copy"));

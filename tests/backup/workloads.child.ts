/**
 * Backs up or restores once, to be killed: ACT FOLDER NAME FILE KEY. Acts: `backup` (FILE is written, KEY a recipient),
 * `restore` (into NAME, KEY an identity), `over` (over NAME, against a rescue bundle that is beside FILE). Says `began`
 * when the work begins and `done` when it has returned.
 */
import { writeSync } from "node:fs";
import { backUp, releaseOf, restoreOver, restoreStore } from "@holdfast/node";
import { passphrase, placeIn } from "../store/lab.ts";

const [act = "", folder = "", name = "", file = "", key = ""] = process.argv.slice(2);
const say = (line: string): void => void writeSync(1, `${line}\n`);
const place = { ...placeIn(folder, name), passphrase };
const by = { identities: [key] };

if (act === "over") {
  const release = await releaseOf({ ...place, bundle: { file: `${file}.rescue`, by } });
  say("began");
  await restoreOver({ ...place, file, by }, release);
} else {
  say("began");
  if (act === "backup") await backUp({ ...place, out: file, to: { recipients: [key] } });
  else await restoreStore({ ...place, file, by });
}
say("done");

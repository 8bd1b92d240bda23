/** Appends notes to a shared store, one at a time, and prints each id once it is durable. */
import { openStore } from "@holdfast/node";
import { createNoteDraft, createNoteRegistry } from "@holdfast/testkit";

const [directory = "", stateDirectory = "", name = "", count = "0"] = process.argv.slice(2);
const store = await openStore({
  directory,
  stateDirectory,
  passphrase: "two writers",
  registry: createNoteRegistry(),
  projections: [],
});
for (let at = 0; at < Number(count); at++) {
  const result = await store.append(createNoteDraft("shared", `${name}/${at}`));
  if (result.status === "appended") console.log(result.events[0]?.id);
}
await store.close();

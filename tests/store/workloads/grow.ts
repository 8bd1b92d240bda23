/** Appends COUNT events, 10 at a time, and prints the process's resident memory before and after: FOLDER COUNT. */
import { draftOf, open } from "../lab.ts";

const [folder = "", count = "0"] = process.argv.slice(2);
const store = await open(folder);
const before = process.memoryUsage.rss();
let events = 0;
for (let n = 1; n <= Number(count); n += 10) {
  const result = await store.append(Array.from({ length: 10 }, (_, at) => draftOf(n + at)));
  if (result.status === "appended") events += result.events.length;
}
const after = process.memoryUsage.rss();
await store.close();
process.stdout.write(JSON.stringify({ before, after, events }));

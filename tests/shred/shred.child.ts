/**
 * Records about a subject and shreds it until it dies: FOLDER FIRST. `FIRST` numbers the events; 20 of them are about
 * the subject, whose key also came as a grant. Each promise is a line; `shred` says that asking begins, `shredded` that
 * all is over here.
 */
import { writeSync } from "node:fs";
import { base64url, createShredDesk, lifeOf } from "@holdfast/core";
import { systemRandom } from "@holdfast/node";
import { draftOf, open, promiseOf } from "../store/lab.ts";

const [folder = "", first = "0"] = process.argv.slice(2);
const say = (line: string): void => void writeSync(1, `${line}\n`);

const store = await open(folder);
const numbers = Array.from({ length: 20 }, (_, at) => Number(first) + at);
const result = await store.append(numbers.map(draftOf));
if (result.status !== "appended") throw new Error(result.status);
for (const [at, { id }] of result.events.entries()) say(promiseOf(id, numbers[at] as number));
const subject = `subject/${Number(first) / 25}`;
const scope = store.scopeId(subject);
const life = lifeOf(store);
await life.writer?.exclusively(() => {
  const id = base64url(systemRandom.bytes(16));
  const key = systemRandom.bytes(32);
  life.deps.keyring.addDataKey({ id, scope, section: "content", generation: 1, key });
});
const desk = createShredDesk(store);
const by = (actor: string) => ({ actor, why: "erasure-asked" });
say("shred");
const shred = await desk.request({ ...by("officer"), scopes: [scope] });
await desk.approve(shred, by("officer"));
await desk.approve(shred, by("director"));
say("shredded");
await store.close();

/**
 * Records events until it is done or dies: FOLDER HOW COUNT FROM [CHANNEL [NAME]].
 *
 * HOW is `single`, `concurrent` (64 at a time), `batch` (1 to 100 a call), `import` (texts of 2 KB, 40 a
 * call), `paced` (with a rest before each call), `rebuild` (a rebuild before each call), `init` (makes the store first) or `normal` (with
 * synchronous=NORMAL: what the suites must catch). COUNT 0 never ends; numbers start at FROM. CHANNEL `ack`
 * promises into `<folder>/.ack`, else each promise is a line on standard output. A refusal is the line
 * `error CODE`, and the work goes on with the next number.
 */
import { writeSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import { type Draft, type Holdfast, isHoldfastError } from "@holdfast/core";
import { initStore } from "@holdfast/node";
import { openAcknowledgements } from "../../faults/power-loss/run.ts";
import { draftOf, importOf, open, openWith, passphrase, placeIn, promiseOf } from "../lab.ts";
import { withNormalSync } from "../normal-sync.ts";

const [folder = "", how = "", count = "0", from = "1", channel = "stdout", name = "store"] =
  process.argv.slice(2);
const say = (line: string): void => void writeSync(1, `${line}\n`);
const promise = channel === "ack" ? openAcknowledgements(folder).acknowledge : say;
const end = Number(from) + (Number(count) || Number.POSITIVE_INFINITY);

function tell(error: unknown): void {
  if (!isHoldfastError(error)) throw error;
  say(`error ${error.code}`);
}

async function openHow(): Promise<Holdfast> {
  if (how === "normal") return openWith(folder, { driver: withNormalSync });
  if (how !== "init") return open(folder, name);
  await initStore({ ...placeIn(folder), passphrase, tenant: "Ward 3" });
  say("made");
  return open(folder);
}

async function record(store: Holdfast, first: number, drafts: readonly Draft[]): Promise<void> {
  try {
    const result = await store.append(drafts.length === 1 ? (drafts[0] as Draft) : drafts);
    if (result.status !== "appended") throw new Error(result.status);
    for (const [at, { id }] of result.events.entries()) promise(promiseOf(id, first + at));
  } catch (error) {
    tell(error);
  }
}

async function work(store: Holdfast): Promise<void> {
  const make = how === "import" ? importOf : draftOf;
  for (let n = Number(from); n < end;) {
    if (how === "paced") await setTimeout(20);
    if (how === "rebuild") {
      say(`rebuild`);
      await store.rebuild("notes");
    }
    const wanted = how === "batch" ? 1 + ((n * 31) % 100) : how === "import" ? 40 : 1;
    const calls = Math.min(how === "concurrent" ? 64 : 1, end - n);
    const size = Math.min(wanted, end - n);
    const group: Promise<void>[] = [];
    for (let call = 0; call < calls; call++, n += size) {
      const first = n;
      group.push(
        record(
          store,
          first,
          Array.from({ length: size }, (_, at) => make(first + at)),
        ),
      );
    }
    await Promise.all(group);
  }
}

try {
  const store = await openHow();
  say("open");
  await work(store);
  await store.close();
} catch (error) {
  tell(error);
}

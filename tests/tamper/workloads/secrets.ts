/**
 * A store's life with markers in everything that is secret: payloads, words, passphrase, tenant label; with
 * sorts, index builds, large answers, a new incarnation, refusals. Prints what errors and telemetry say.
 *
 * Arguments: folder, seed, markers, `memory` or `file`: where SQLite keeps what it sorts. `file` is the
 * control: a driver that lies about the setting.
 */
import { existsSync, readdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import { inspect } from "node:util";
import {
  createRegistry,
  defineProjection,
  type Draft,
  type Holdfast,
  type Observer,
  openHoldfast,
  openKeyring,
  openSoftwareProvider,
  type SqliteDriver,
  type StoreMedium,
} from "@holdfast/core";
import {
  createProcessIdentity,
  createStoreMedium,
  initStore,
  keyringFiles,
  openStore,
  systemClock,
  systemRandom,
  systemTimers,
} from "@holdfast/node";
import { markersOf } from "../markers.ts";
import { crypto, registry as types } from "../world.ts";

const [folder = "", seed = "1", count = "60", sorts = "memory"] = process.argv.slice(2);
const markers = markersOf(Number(seed), Number(count));
const [passphrase = "", tenant = "", ...words] = markers;
const place = { directory: join(folder, "store"), stateDirectory: join(folder, "state") };
/** Large enough that a sort does not fit what SQLite keeps in memory by itself. */
const filler = "x".repeat(Math.ceil(3_000_000 / words.length));
const registry = createRegistry([...types.types.values()]);
const texts = defineProjection<{ readonly text: string; readonly n: number }>({
  name: "texts",
  version: 1,
  types: ["NoteWritten"],
  columns: { text: "text", n: "integer" },
  fold: (_state, event) => event.data as { readonly text: string; readonly n: number },
  row: ({ text, n }) => ({ text, n }),
});

const said: unknown[] = [];
const observer: Observer = {
  count: (...call) => said.push(call),
  gauge: (...call) => said.push(call),
  observe: (...call) => said.push(call),
  span: (...call) => {
    said.push(call);
    return (result) => said.push(result);
  },
  log: (...call) => said.push(call),
};

/** A driver whose sorts go to files, and which says otherwise. */
function sortingInFiles(driver: SqliteDriver): SqliteDriver {
  return {
    capabilities: driver.capabilities,
    get inTransaction() {
      return driver.inTransaction;
    },
    exec: (sql) => {
      driver.exec(
        sql
          .replace("temp_store = MEMORY", "temp_store = FILE")
          .replace("cache_size = -8192", "cache_size = 10"),
      );
    },
    prepare: (sql) => driver.prepare(sql === "PRAGMA temp_store" ? "SELECT 2 AS temp_store" : sql),
    close: () => {
      driver.close();
    },
  };
}

async function open(): Promise<Holdfast> {
  if (sorts === "memory") {
    return openStore({ ...place, passphrase, registry, projections: [texts], observer });
  }
  const [storeId = ""] = readdirSync(place.stateDirectory);
  const medium = createStoreMedium(place.directory, place.stateDirectory, storeId, false);
  const lying: StoreMedium = {
    ...medium,
    openDriver: (key, options) => sortingInFiles(medium.openDriver(key, options)),
  };
  return openHoldfast({
    crypto,
    random: systemRandom,
    clock: systemClock,
    timers: systemTimers,
    observer,
    process: createProcessIdentity(),
    keyring: await openKeyring({
      crypto,
      random: systemRandom,
      files: keyringFiles(place.directory, place.stateDirectory, storeId),
      openProvider: openSoftwareProvider({ crypto, random: systemRandom, passphrase }),
    }),
    medium: lying,
    registry,
    projections: [texts],
    app: "tests",
    readOnly: false,
    acceptRollback: false,
  });
}

function draftsOf(word: string, n: number): readonly Draft[] {
  const common = { stream: `stream ${word}`, scope: `subject ${word}`, site: word, actor: word };
  return [
    {
      ...common,
      type: "NoteWritten",
      data: { text: word + filler, n, name: word },
      occurredAt: n,
      reason: `because ${word}`,
    },
    {
      ...common,
      stream: `document ${word}`,
      type: "Document",
      data: undefined,
      text: JSON.stringify({
        resourceType: "Patient",
        name: [{ family: word }],
        text: { div: word },
      }),
    },
  ];
}

async function refused(work: () => unknown): Promise<void> {
  try {
    await work();
    throw new Error("this was to be refused");
  } catch (error) {
    process.stdout.write(`${inspect(error, { depth: 8, showHidden: true })}\n`);
  }
}

async function refusals(store: Holdfast, word: string): Promise<void> {
  const [draft, document] = draftsOf(word, 1) as [Draft, Draft];
  await refused(() => store.append({ ...draft, data: { text: word, n: Number.NaN } }));
  await refused(() => store.append({ ...document, text: `{"a": "${word}", "a": "${word}"}` }));
  await refused(() => store.append({ ...document, text: `{"a": "${word}" ${word}` }));
  await refused(() => store.append({ ...draft, scope: `another ${word}` }));
  await refused(() => store.append({ ...draft, reason: `${word}\u0000` }));
  await refused(() => store.append({ ...draft, op: "amend", why: "x", ref: ["A".repeat(43)] }));
  await refused(() => store.append({ ...draft, role: `${word} ${word}` }));
  await refused(() => store.append({ ...draft, data: word.repeat(20_000) }));
  await refused(() => openStore({ ...place, passphrase: word, registry, projections: [] }));
}

function ask(store: Holdfast): void {
  const order = ["-n", "text"];
  if (store.query("texts", { order, limit: 10_000 }).length !== words.length) {
    throw new Error("the read model lacks rows");
  }
  store.query("texts", { order: ["text", "-n"], limit: 10_000, where: { text: { gte: "A" } } });
  store.count("texts", { where: { text: { in: words } } });
  store.read({ limit: 100_000 });
  if (!store.verify({ allNotes: true }).ok) throw new Error("the store does not verify");
}

await initStore({ ...place, passphrase, tenant });
const first = await open();
for (const [n, word] of words.entries()) await first.append(draftsOf(word, n));
ask(first);
await first.rebuild("texts");
await refusals(first, words[0] as string);
await first.close();
// Moved: the next writer opens a new incarnation.
renameSync(place.directory, join(folder, "moved"));
const moved = { ...place, directory: join(folder, "moved") };
Object.assign(place, moved);
const second = await open();
await second.append({ type: "Measured", stream: "s", actor: "a", data: { text: words[1] } });
await second.rebuild("texts");
ask(second);
process.stdout.write(`${inspect(second.status(), { depth: 8 })}\n`);
// What a killed process leaves behind is looked at too: the write-ahead log is there.
if (!existsSync(join(place.directory, "store.db-wal")))
  throw new Error("there is no log to look at");
process.stdout.write(`${inspect(said, { depth: 8, maxArrayLength: null })}\n`);
process.kill(process.pid, "SIGKILL");

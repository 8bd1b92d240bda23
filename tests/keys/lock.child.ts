/**
 * Opens a store, uses it, locks it, and shows what memory holds: a heap snapshot while it is open and one after,
 * then waits while its whole memory is read from outside.
 */
import { writeHeapSnapshot } from "node:v8";
import { openStore } from "@holdfast/node";
import { createNoteDraft as note, createNoteRegistry } from "@holdfast/testkit";

interface Told {
  readonly directory: string;
  readonly stateDirectory: string;
  readonly passphrase: string;
  readonly open: string;
  readonly locked: string;
}

const collect = (globalThis as { readonly gc?: () => void }).gc;

/** A marker that is found when reading works: made here, so that no message brings it. */
const marker = Buffer.alloc(32);
for (let at = 0; at < marker.length; at++) marker[at] = 0xa0 ^ (at * 7);

function say(said: string): void {
  process.send?.(said);
}

async function work(told: Told): Promise<void> {
  const { directory, stateDirectory, passphrase } = told;
  const registry = createNoteRegistry();
  const place = { directory, stateDirectory, passphrase, registry, projections: [] };
  const store = await openStore(place);
  await store.append(note("s", "one"));
  store.read();
  say("open");
  await new Promise((resolve) => process.once("message", resolve));
  writeHeapSnapshot(told.open);
  await store.close();
}

process.once("message", (told: Told) => {
  void (async () => {
    await work(told);
    // Handles of keys are freed, and zeroed, when nothing refers to them any more.
    for (let times = 0; times < 5; times++) {
      collect?.();
      await new Promise((resolve) => setImmediate(resolve));
    }
    writeHeapSnapshot(told.locked);
    collect?.();
    say("locked");
    await new Promise((resolve) => process.once("message", resolve));
    process.exit(marker[0] === 0 ? 1 : 0);
  })();
});

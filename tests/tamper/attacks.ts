/** A store to attack, and what is seen of it afterwards. */
import { type Holdfast, isHoldfastError } from "@holdfast/core";
import { withScratch } from "../faults/native.ts";
import { draftOf, makeStore, open, type Place, placeIn } from "./world.ts";

export const events = 30;

export async function fill(store: Holdfast, from: number, to: number): Promise<void> {
  for (let n = from; n < to; n++) await store.append(draftOf(n));
}

/** A closed store with the opening event and `events` more. */
export async function withStore(
  run: (place: Place, folder: string) => Promise<void>,
): Promise<void> {
  await withScratch("tamper-attacks", async (folder) => {
    const place = placeIn(folder);
    await makeStore(place);
    const store = await open(place);
    await fill(store, 0, events);
    await store.close();
    await run(place, folder);
  });
}

export async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    if (isHoldfastError(error)) return error.code;
    throw error;
  }
  return "no refusal";
}

export interface Seen {
  readonly findings: readonly string[];
  readonly problems: readonly string[];
  /** Events that can be read. */
  readonly events: number;
  /** Code of an append, or `appended`. */
  readonly append: string;
}

/** Opens, looks, and tries to append. */
export async function look(
  place: Place,
  options: { readonly acceptRollback?: boolean } = {},
): Promise<Seen> {
  const store = await open(place, options);
  try {
    const findings = store.status().findings.map(({ code }) => code);
    const problems = store.verify().problems.map(({ code, object }) => `${code} ${object}`);
    let readable = 0;
    for (let after = 0; ;) {
      try {
        const [event] = store.read({ after, limit: 1 });
        if (event === undefined) break;
        after = event.position;
        readable += 1;
      } catch (error) {
        if (!isHoldfastError(error)) throw error;
        after += 1;
      }
    }
    const append = await codeOf(store.append(draftOf(1_000)));
    return {
      findings,
      problems,
      events: readable,
      append: append.replace("no refusal", "appended"),
    };
  } finally {
    await store.close();
  }
}

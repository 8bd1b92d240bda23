/**
 * What must hold of one open store, checked through its public API against the ledger.
 */
import { canonicalOrder, type Holdfast, type Problem, type RecordedEvent } from "@holdfast/core";
import { diary, wordOf } from "./domain.ts";
import { type Ledger, SafetyError } from "./ledger.ts";

/** All events of a store after that position, in order of position. */
export function allEvents(store: Holdfast, after = 0): readonly RecordedEvent[] {
  const events: RecordedEvent[] = [];
  for (;;) {
    const page = store.read({ after: events.at(-1)?.position ?? after, limit: 1_000 });
    events.push(...page);
    if (page.length < 1_000) return events;
  }
}

/** Nothing that this device acknowledged is lost or altered. */
export function checkAcknowledged(device: string, store: Holdfast, ledger: Ledger): void {
  for (const { word, leaf, id, device: by } of ledger.acknowledged.values()) {
    if (by !== device || ledger.excused.has(leaf)) continue;
    const event = store.get(leaf);
    if (event === undefined) {
      throw new SafetyError(`${device}: the acknowledged ${word} (${leaf}) is lost`);
    }
    if (event.id !== id || wordOf(event.data) !== word) {
      throw new SafetyError(`${device}: the acknowledged ${word} (${leaf}) is altered`);
    }
  }
}

/** Nothing is there that nobody appended, and nothing twice. */
export function checkNothingElse(
  device: string,
  events: readonly RecordedEvent[],
  ledger: Ledger,
): void {
  const seen = new Map<string, string>();
  const ids = new Set<string>();
  for (const [at, event] of events.entries()) {
    if (event.position !== at + 1) {
      throw new SafetyError(`${device}: position ${event.position} stands at ${at + 1}`);
    }
    if (ids.has(event.id)) throw new SafetyError(`${device}: the id ${event.id} stands twice`);
    ids.add(event.id);
    if (event.content !== "opened") continue;
    // What a device records of its own accord when it takes a lease over from one that crashed.
    if (event.type === "LeaseTakenOver" && event.op === "admin") continue;
    const word = wordOf(event.data);
    if (word === undefined || !ledger.offered.has(word)) {
      throw new SafetyError(`${device}: nobody appended ${word ?? event.leaf}`);
    }
    const before = seen.get(word);
    if (before !== undefined) {
      throw new SafetyError(`${device}: ${word} was recorded twice, ${before} and ${event.leaf}`);
    }
    seen.set(word, event.leaf);
  }
}

/** Rows of the read model as the store has them, one text a stream. */
export function modelRows(store: Holdfast): ReadonlyMap<string, string> {
  const rows = store.query("diary", { limit: 100_000 });
  return new Map(
    rows
      .map(({ stream, state }): readonly [string, string] => [stream, JSON.stringify(state)])
      .toSorted(([a], [b]) => (a < b ? -1 : 1)),
  );
}

/** Rows as this fold of all events gives them, without any table of the store. */
function foldedRows(events: readonly RecordedEvent[]): ReadonlyMap<string, string> {
  const byStream = new Map<string, RecordedEvent[]>();
  for (const event of events) {
    const known = byStream.get(event.stream);
    if (known === undefined) byStream.set(event.stream, [event]);
    else known.push(event);
  }
  const rows: (readonly [string, string])[] = [];
  for (const [stream, list] of byStream) {
    let state: unknown;
    for (const event of canonicalOrder(list)) {
      // What cannot be opened is not folded until its key has come.
      const folds = diary.types.includes(event.type) && event.content === "opened";
      if (folds) state = diary.fold(state, event);
    }
    if (state !== undefined) rows.push([stream, JSON.stringify(state)]);
  }
  return new Map(rows.toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

function checkSameRows(
  device: string,
  what: string,
  rows: ReadonlyMap<string, string>,
  expected: ReadonlyMap<string, string>,
): void {
  for (const stream of new Set([...rows.keys(), ...expected.keys()])) {
    const [row, wanted] = [rows.get(stream), expected.get(stream)];
    if (row === wanted) continue;
    throw new SafetyError(`${device}: ${what}: ${stream} is ${row ?? "-"}, not ${wanted ?? "-"}`);
  }
}

/** The read model is the fold of the log, before and after it is built anew. */
export async function checkReadModels(
  device: string,
  store: Holdfast,
  events: readonly RecordedEvent[],
): Promise<void> {
  const expected = foldedRows(events);
  checkSameRows(device, "the read model is not the fold", modelRows(store), expected);
  await store.rebuild("diary");
  checkSameRows(device, "the read model built anew is another", modelRows(store), expected);
}

/** The store proves itself; findings that the scenario explains are allowed. */
export function checkProofs(
  device: string,
  store: Holdfast,
  isExplained: (problem: Problem) => boolean,
): void {
  const { problems } = store.verify({ allNotes: true });
  const surprise = problems.find((problem) => !isExplained(problem));
  if (surprise !== undefined) {
    throw new SafetyError(`${device}: verify says ${JSON.stringify(surprise)}`);
  }
}

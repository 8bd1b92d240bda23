/**
 * The conformance suite of the `EventLog` port: every implementation runs it in a test of a few lines. What
 * the log answers is compared with a plain array and with a tree computed apart.
 */
import {
  type CommitBatch,
  type CommitNote,
  type Crypto,
  type EventFilter,
  type EventLog,
  isHoldfastError,
  type MaybePromise,
  type SealedEvent,
  type StoredEvent,
} from "@holdfast/core";
import fc from "fast-check";
import { type Chance, createChance } from "./chance.ts";
import type { SuiteRunner } from "./key-provider.suite.ts";
import { createSealedDeviceLog, type EventWishes, withFrameState } from "./sealed-batches.ts";

/** One empty log, opened for one test. */
export interface EventLogUnderTest {
  readonly log: EventLog;
  /** Takes an event out of what the server has not acknowledged. `undefined`: cannot be done here. */
  readonly acknowledge: ((position: number) => MaybePromise<void>) | undefined;
  /** The same log from its medium, as a new process sees it. `undefined`: it has no medium. */
  readonly reopen: (() => MaybePromise<EventLog>) | undefined;
  close(): MaybePromise<void>;
}

/** What the conformance suite of event logs runs on. */
export interface EventLogSuiteOptions {
  readonly name: string;
  /** An empty log; each call another one. */
  readonly make: () => MaybePromise<EventLogUnderTest>;
  readonly crypto: Crypto;
  /** Runs of the property test. */
  readonly runs?: number;
}

/** What the log must answer, kept as plainly as possible. */
interface Model {
  readonly events: { readonly position: number; readonly sealed: SealedEvent }[];
  readonly notes: CommitNote[];
  readonly acknowledged: Set<number>;
}

type SuiteTest = (name: string, body: (test: EventLogUnderTest) => Promise<void>) => void;

/** Runs the suite. */
export function eventLogSuite(runner: SuiteRunner, options: EventLogSuiteOptions): void {
  const test: SuiteTest = (name, body) => {
    runner.it(name, async () => {
      const made = await options.make();
      try {
        await body(made);
      } finally {
        await made.close();
      }
    });
  };
  runner.describe(`event log: ${options.name}`, () => {
    appending(runner, options, test);
    refusing(runner, options, test);
    reading(runner, options, test);
    proving(runner, options, test);
    modelled(runner, options);
  });
}

const emptyModel = (): Model => ({ events: [], notes: [], acknowledged: new Set() });

function record(model: Model, batch: CommitBatch): void {
  for (const sealed of batch.events) {
    model.events.push({ position: model.events.length + 1, sealed });
  }
  model.notes.push(batch.note);
}

function expected(model: Model, filter: EventFilter): readonly Model["events"][number][] {
  return model.events
    .filter(({ position, sealed: { header } }) => {
      const { stream, type, actor, since, until, after, unsynced } = filter;
      return (
        (stream === undefined || header.stream === stream) &&
        (type === undefined || header.type === type) &&
        (actor === undefined || header.act === actor) &&
        (since === undefined || header.at >= since) &&
        (until === undefined || header.at < until) &&
        (after === undefined || position > after) &&
        (unsynced !== true || !model.acknowledged.has(position))
      );
    })
    .slice(0, filter.limit);
}

/** One event as text, frames in order of section: equal texts are equal to the byte. */
function textOf(
  position: number,
  event: Pick<SealedEvent, "leaf" | "headerText" | "frames">,
  headersOnly: boolean,
): string {
  const frames = event.frames
    .toSorted((a, b) => (a.section < b.section ? -1 : 1))
    .map(({ section, key, state, bytes }) => [section, key, state, bytes && [...bytes].join()]);
  return JSON.stringify([position, event.leaf, event.headerText, headersOnly ? [] : frames]);
}

const storedText = (event: StoredEvent | undefined, headersOnly = false): string =>
  event === undefined ? "none" : textOf(event.position, event, headersOnly);

async function failureOf(run: () => unknown): Promise<unknown> {
  try {
    await run();
    return undefined;
  } catch (error) {
    return error;
  }
}

/** RFC 6962 §2.1 as it is written there, over leaf hashes. */
function rootOfLeaves(crypto: Crypto, leaves: readonly Uint8Array[]): Uint8Array {
  if (leaves.length === 0) return crypto.sha256();
  if (leaves.length === 1) return leaves[0] as Uint8Array;
  let split = 1;
  while (split * 2 < leaves.length) split *= 2;
  const left = rootOfLeaves(crypto, leaves.slice(0, split));
  const right = rootOfLeaves(crypto, leaves.slice(split));
  return crypto.sha256(Uint8Array.of(1), left, right);
}

const leafBytes = (leaf: string): Uint8Array =>
  Uint8Array.from(atobUrl(leaf), (character) => character.charCodeAt(0));
const atobUrl = (text: string): string => atob(text.replaceAll("-", "+").replaceAll("_", "/"));

/** The root that a compact range stands for: its subtrees joined from the right. */
function rootOfRange(crypto: Crypto, hashes: readonly Uint8Array[]): Uint8Array {
  const last = hashes.at(-1);
  if (last === undefined) return crypto.sha256();
  return hashes
    .slice(0, -1)
    .reduceRight((right, left) => crypto.sha256(Uint8Array.of(1), left, right), last);
}

const hexOf = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

async function checkState(
  { check }: SuiteRunner,
  crypto: Crypto,
  log: EventLog,
  device: {
    readonly device: string;
    readonly incarnation: string;
    readonly leaves: readonly string[];
  },
): Promise<void> {
  const state = await log.deviceLog(device.device, device.incarnation);
  const leaves = device.leaves.map(leafBytes);
  check(state?.size === leaves.length, "a device log has the size of its leaves");
  check(state?.device === device.device, "and bears its names");
  check(state?.incarnation === device.incarnation, "and bears its names");
  check(state?.head.leaf === device.leaves.at(-1), "its head names the last leaf");
  check(state?.head.range.size === leaves.length, "its range has its size");
  const root = rootOfRange(crypto, state?.head.range.hashes ?? []);
  check(hexOf(root) === hexOf(rootOfLeaves(crypto, leaves)), "its root is that of RFC 6962");
}

function appending(runner: SuiteRunner, { crypto }: EventLogSuiteOptions, test: SuiteTest): void {
  const { check } = runner;
  test("is empty at first", async ({ log }) => {
    check((await log.head()) === 0, "no position is taken");
    check((await log.read({ limit: 10 })).length === 0, "nothing to read");
    check((await log.deviceLog("nobody", "never")) === undefined, "no device log");
    check((await log.noteCovering("nobody", "never", 1)) === undefined, "no note");
    check((await log.leaves("nobody", "never", 0, 10)).length === 0, "no leaves");
    check((await log.byId("nothing")) === undefined, "no event by id");
    check((await log.byLeaf("nothing")) === undefined, "no event by leaf");
  });

  test("gives positions from 1 without gaps in commit order", async ({ log }) => {
    const chance = createChance(1);
    const [one, other] = [1, 2].map(() => createSealedDeviceLog({ crypto, chance }));
    let last = 0;
    for (const [device, count] of [
      [one, 3],
      [other, 1],
      [one, 2],
      [other, 5],
    ] as const) {
      if (device === undefined) continue;
      const outcome = await log.append(device.batch(Array.from({ length: count }, () => ({}))));
      check(outcome.status === "appended", "the batch is appended");
      check(
        outcome.status === "appended" && outcome.firstPosition === last + 1,
        "its first position follows the last",
      );
      last += count;
      check((await log.head()) === last, "the head is the last position");
    }
    const positions = (await log.read({ limit: 100 })).map(({ position }) => position);
    check(positions.join() === Array.from({ length: last }, (_, i) => i + 1).join(), "no gaps");
  });

  test("gives back the very bytes, frames of every state among them", async ({ log, reopen }) => {
    const chance = createChance(2);
    const device = createSealedDeviceLog({ crypto, chance });
    const sections = ["content", "identity", "z"].map((name) => ({
      name,
      plaintext: chance.bytes(50),
    }));
    const made = device.batch([{ sections }, {}, {}, {}, { sections: [] }]);
    const events = made.events.map((event, at) => {
      const state = (["owed", "shredded", "evicted"] as const)[at - 1];
      return state === undefined ? event : withFrameState(event, state);
    });
    await log.append({ ...made, events });
    for (const where of [log, await reopen?.()]) {
      const read = await where?.read({ limit: 10 });
      for (const [at, event] of (read ?? []).entries()) {
        const sealed = events[at] as SealedEvent;
        check(storedText(event) === textOf(at + 1, sealed, false), "equal to the byte");
        check(storedText(await where?.byLeaf(sealed.leaf)) === storedText(event), "and by leaf");
        check(storedText(await where?.byId(sealed.header.id)) === storedText(event), "and by id");
      }
      check(read === undefined || read.length === events.length, "all of them");
    }
  });
}

function refusing(runner: SuiteRunner, { crypto }: EventLogSuiteOptions, test: SuiteTest): void {
  const { check } = runner;

  test("answers stale when a batch does not continue its device log", async ({ log }) => {
    const chance = createChance(3);
    const device = createSealedDeviceLog({ crypto, chance });
    const early = device.draftBatch([{}]);
    const first = device.batch([{}, {}]);
    const late = device.batch([{}]);
    const tooLate = await log.append(late);
    check(tooLate.status === "stale" && tooLate.size === 0, "a batch from the future is stale");
    const unheard = await log.deviceLog(device.device, device.incarnation);
    check(unheard === undefined, "a refused batch leaves no device log behind");
    await log.append(first);
    const again = await log.append(first);
    check(again.status === "stale" && again.size === 2, "a batch that is there is stale");
    const tooEarly = await log.append(early);
    check(tooEarly.status === "stale" && tooEarly.size === 2, "a batch from the past is stale");
    check((await log.head()) === 2, "nothing of them was appended");
    const next = await log.append(late);
    check(next.status === "appended" && next.firstPosition === 3, "the right one goes on");
  });

  test("answers stale for a branch of the same size", async ({ log }) => {
    const chance = createChance(4);
    const device = createSealedDeviceLog({ crypto, chance });
    const branch = device.draftBatch([{}]);
    await log.append(branch);
    device.batch([{}]);
    const outcome = await log.append(device.batch([{}]));
    check(outcome.status === "stale" && outcome.size === 1, "its predecessor is not the last leaf");
    check((await log.head()) === 1, "nothing was appended");
  });

  test("refuses an id that is recorded and appends nothing", async ({ log }) => {
    const chance = createChance(5);
    const [one, other] = [1, 2].map(() => createSealedDeviceLog({ crypto, chance }));
    const first = one?.batch([{}, {}]) as CommitBatch;
    await log.append(first);
    const taken = first.events[1]?.header.id as string;
    for (const device of [one, other]) {
      const batch = device?.draftBatch([{}, { id: taken }]) as CommitBatch;
      const error = await failureOf(() => log.append(batch));
      check(isHoldfastError(error, "event_id_conflict"), "with its code");
      check((await log.head()) === 2, "nothing was appended");
      check(
        (await log.byLeaf(batch.events[0]?.leaf as string)) === undefined,
        "not its first either",
      );
      const { size } = (await log.deviceLog(batch.note.device, batch.note.incarnation)) ?? {
        size: 0,
      };
      check(size === (device === one ? 2 : 0), "its device log stays as it was");
    }
    const next = await log.append(one?.batch([{}]) as CommitBatch);
    check(next.status === "appended" && next.firstPosition === 3, "the log goes on without a gap");
  });
}

const types = ["NoteTaken", "WeightMeasured", "NosebleedRecorded"];

/** Wishes of one batch: few streams, actors, types and times, so that filters meet. */
function wishes(chance: Chance, streams: readonly string[], count: number): readonly EventWishes[] {
  return Array.from({ length: count }, () => ({
    stream: chance.pick(streams),
    type: chance.pick(types),
    actor: `actor-${chance.integer(3)}`,
    at: 1_000 + chance.integer(20),
  }));
}

async function compare(
  { check }: SuiteRunner,
  log: EventLog,
  model: Model,
  filter: EventFilter,
): Promise<void> {
  const headersOnly = filter.headersOnly ?? false;
  const read = (await log.read(filter)).map((event) => storedText(event, headersOnly));
  const wanted = expected(model, filter).map(({ position, sealed }) =>
    textOf(position, sealed, headersOnly),
  );
  check(
    read.join("\n") === wanted.join("\n"),
    `read ${JSON.stringify(filter)} answers as the model`,
  );
}

function reading(runner: SuiteRunner, { crypto }: EventLogSuiteOptions, test: SuiteTest): void {
  const { check } = runner;
  test("reads by every combination of conditions", async ({ log, acknowledge }) => {
    const chance = createChance(6);
    const model = emptyModel();
    const streams = ["stream-a", "stream-b", "stream-c"];
    const devices = [1, 2, 3].map(() => createSealedDeviceLog({ crypto, chance }));
    for (let commit = 0; commit < 12; commit++) {
      const batch = chance.pick(devices).batch(wishes(chance, streams, 1 + chance.integer(8)));
      await log.append(batch);
      record(model, batch);
    }
    if (acknowledge !== undefined) {
      for (const position of [1, 4, 9]) {
        await acknowledge(position);
        model.acknowledged.add(position);
      }
    }
    const parts: readonly Omit<EventFilter, "limit">[] = [
      { stream: "stream-b" },
      { type: "WeightMeasured" },
      { actor: "actor-1" },
      { since: 1_005 },
      { until: 1_015 },
      { after: 7 },
      { headersOnly: true },
      ...(acknowledge === undefined ? [] : [{ unsynced: true }]),
    ];
    for (let mask = 0; mask < 2 ** parts.length; mask++) {
      const chosen = parts.filter((_, bit) => (mask >> bit) % 2 === 1);
      const limit = mask % 3 === 0 ? 5 : 1_000;
      await compare(runner, log, model, Object.assign({ limit }, ...chosen) as EventFilter);
    }
    const nothing = [{ stream: "no-such" }, { since: 5_000 }, { after: 10_000 }, { until: 0 }];
    for (const filter of nothing) {
      check((await log.read({ ...filter, limit: 10 })).length === 0, "nothing meets it");
    }
    check((await log.read({ limit: 0 })).length === 0, "a limit of nothing gives nothing");
  });

  test("reads page by page what it reads at once", async ({ log }) => {
    const chance = createChance(7);
    const device = createSealedDeviceLog({ crypto, chance });
    await log.append(device.batch(wishes(chance, ["s"], 25)));
    const all = (await log.read({ limit: 100 })).map((event) => storedText(event));
    const paged: string[] = [];
    for (let after = 0; ;) {
      const page = await log.read({ after, limit: 4 });
      if (page.length === 0) break;
      check(page.length <= 4, "a page has at most its limit");
      paged.push(...page.map((event) => storedText(event)));
      after = page.at(-1)?.position as number;
    }
    check(paged.join("\n") === all.join("\n"), "the same events in the same order");
  });
}

function proving(runner: SuiteRunner, { crypto }: EventLogSuiteOptions, test: SuiteTest): void {
  const { check } = runner;
  test("keeps the tree of each device log, interleaved and across tiles", async (made) => {
    const chance = createChance(8);
    const devices = [1, 2, 3].map(() => createSealedDeviceLog({ crypto, chance }));
    const sizes = [1, 2, 250, 3, 7, 255, 1, 256, 64, 512];
    for (const [at, size] of sizes.entries()) {
      const device = devices[at % 2] as (typeof devices)[number];
      const lean = Array.from({ length: size }, () => ({ sections: [] }));
      const outcome = await made.log.append(device.batch(lean));
      check(outcome.status === "appended", "the batch is appended");
      await checkState(runner, crypto, made.log, device);
    }
    await made.log.append(devices[2]?.batch([{}]) as CommitBatch);
    const again = await made.reopen?.();
    for (const device of devices) {
      await checkState(runner, crypto, made.log, device);
      if (again !== undefined) await checkState(runner, crypto, again, device);
    }
  });

  test("gives leaves of any range, and notes that cover", async ({ log }) => {
    const chance = createChance(9);
    const device = createSealedDeviceLog({ crypto, chance });
    const other = createSealedDeviceLog({ crypto, chance, device: device.device });
    const notes: CommitNote[] = [];
    for (const size of [1, 3, 4]) {
      const batch = device.batch(Array.from({ length: size }, () => ({})));
      notes.push(batch.note);
      await log.append(batch);
      await log.append(other.batch([{}]));
    }
    const { device: name, incarnation } = device;
    for (let from = 0; from <= 8; from++) {
      for (let to = from; to <= 9; to++) {
        const leaves = await log.leaves(name, incarnation, from, to);
        check(leaves.join() === device.leaves.slice(from, to).join(), `leaves ${from} to ${to}`);
      }
    }
    for (let sequence = 1; sequence <= 8; sequence++) {
      const wanted = notes.find(({ size }) => size >= sequence);
      const found = await log.noteCovering(name, incarnation, sequence);
      check(
        JSON.stringify(found) === JSON.stringify(wanted),
        `the commit's note covers ${sequence}`,
      );
    }
    check(
      (await log.noteCovering(name, incarnation, 9)) === undefined,
      "no note covers the future",
    );
  });
}

/** Random batches of several device logs, some refused, against the model. */
function modelled(runner: SuiteRunner, options: EventLogSuiteOptions): void {
  runner.it("answers as a plain array does, whatever is appended", async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer(), async (seed) => {
        await modelRun(runner, options, createChance(seed));
      }),
      { numRuns: options.runs ?? 15 },
    );
  });
}

async function modelRun(
  runner: SuiteRunner,
  options: EventLogSuiteOptions,
  chance: Chance,
): Promise<void> {
  const { check } = runner;
  const made = await options.make();
  try {
    const { log } = made;
    const model = emptyModel();
    const streams = Array.from({ length: 1 + chance.integer(4) }, (_, at) => `stream-${at}`);
    const devices = Array.from({ length: 1 + chance.integer(3) }, () =>
      createSealedDeviceLog({ crypto: options.crypto, chance }),
    );
    for (let step = 0; step < 8; step++) {
      const device = chance.pick(devices);
      const asked = wishes(chance, streams, 1 + chance.integer(12));
      if (chance.oneIn(4) && model.events.length > 0) {
        const { id } = chance.pick(model.events).sealed.header;
        const error = await failureOf(() => log.append(device.draftBatch([...asked, { id }])));
        check(isHoldfastError(error, "event_id_conflict"), "a recorded id is refused");
        continue;
      }
      const batch = device.batch(asked);
      const outcome = await log.append(batch);
      check(outcome.status === "appended", "a batch that continues is appended");
      record(model, batch);
    }
    check((await log.head()) === model.events.length, "the head is the number of events");
    for (const device of devices.filter(({ leaves }) => leaves.length > 0)) {
      await checkState(runner, options.crypto, log, device);
    }
    for (let question = 0; question < 12; question++) {
      await compare(runner, log, model, randomFilter(chance, streams, model.events.length));
    }
  } finally {
    await made.close();
  }
}

function randomFilter(chance: Chance, streams: readonly string[], size: number): EventFilter {
  return {
    limit: chance.oneIn(3) ? chance.integer(5) : 1_000,
    ...(chance.oneIn(3) && { stream: chance.pick(streams) }),
    ...(chance.oneIn(3) && { type: chance.pick(types) }),
    ...(chance.oneIn(4) && { actor: `actor-${chance.integer(3)}` }),
    ...(chance.oneIn(4) && { since: 1_000 + chance.integer(20) }),
    ...(chance.oneIn(4) && { until: 1_000 + chance.integer(20) }),
    ...(chance.oneIn(3) && { after: chance.integer(size + 1) }),
    ...(chance.oneIn(4) && { headersOnly: true }),
  };
}

/**
 * Pushes of several devices at random (whole, split, overlapping, repeated, out of two branches, some at once)
 * against a plain model: per device log an array of leaves and a set of indices that have a body.
 */
import {
  base64url,
  checkProvenLeaf,
  isHoldfastError,
  leafHash,
  parseCheckpoint,
  parseNote,
  parseStatement,
  type PushAnswer,
  type PushEntry,
  type PushRequest,
  utf8,
} from "@holdfast/core";
import { createNodeCrypto, openPlainSqlite } from "@holdfast/node";
import {
  bodyOf,
  callerOf,
  createTestServer,
  type PushingDevice,
  type TestServer,
} from "@holdfast/testkit";
import fc from "fast-check";
import { expect, test } from "vitest";

const crypto = createNodeCrypto();

/** Numbers are taken modulo what there is. */
interface Step {
  readonly act: "record" | "push" | "repeat" | "branch" | "push-branch";
  readonly device: number;
  readonly count: number;
  readonly from: number;
  readonly to: number;
  readonly bare: readonly number[];
  readonly fills: readonly number[];
}

const steps = fc.array(
  fc.array(
    fc.record<Step>({
      act: fc.constantFrom(
        "record",
        "push",
        "push",
        "push",
        "repeat",
        "branch",
        "push-branch",
        "push-branch",
      ),
      device: fc.nat(2),
      count: fc.integer({ min: 1, max: 4 }),
      from: fc.nat(),
      to: fc.nat(),
      bare: fc.array(fc.nat(9), { maxLength: 3 }),
      fills: fc.array(fc.nat(30), { maxLength: 3 }),
    }),
    { minLength: 1, maxLength: 4 },
  ),
  { minLength: 1, maxLength: 12 },
);

/** A request with the leaves that its sender believes the log to have, up to its end. */
interface Sent {
  readonly request: PushRequest;
  readonly line: readonly string[];
}

interface Modelled {
  readonly device: PushingDevice;
  leaves: readonly string[];
  readonly bodies: Set<number>;
  /** Branches that were drafted: where each leaves the line. */
  readonly branches: Sent[];
  last: Sent | undefined;
}

type Expected = { readonly status: string } & Readonly<Record<string, unknown>>;

function choose(log: Modelled, step: Step): Sent {
  const { device } = log;
  const sizes = device.notes.map(({ size }) => size);
  const to = sizes[step.to % sizes.length] as number;
  // Mostly where the server stands or a little before; sometimes anywhere.
  const near = Math.max(0, log.leaves.length - (step.from % 3));
  const from = step.from % 5 === 0 ? step.from % (to + 1) : Math.min(near, to);
  const fills = [...new Set(step.fills.map((at) => at % device.events.length))];
  const leafOnly = step.bare.map((at) => from + at);
  const line = device.events.slice(0, to).map(({ leaf }) => leaf);
  return { request: device.push(from, { to, fills, leafOnly }), line };
}

function branchOff(log: Modelled, count: number): Sent {
  const { device } = log;
  const batch = device.log.draftBatch(Array.from({ length: count }, () => ({})));
  const from = device.events.length;
  const entries = batch.events.map((event): PushEntry => ({ kind: "full", body: bodyOf(event) }));
  const { incarnation } = device;
  const line = [...device.events, ...batch.events].map(({ leaf }) => leaf);
  const request = { from, note: batch.note.text, entries, fills: [], checkpoint: 0 };
  return { request: { ...request, device: device.device, incarnation }, line };
}

/** What the server must answer, and what it then has. */
function predict(log: Modelled, { request, line }: Sent): Expected {
  const { from, entries, fills } = request;
  const size = log.leaves.length;
  if (from > size) return { status: "behind", size };
  const offered = line.slice(from, from + entries.length);
  const overlap = Math.min(size, from + entries.length);
  for (let index = from; index < overlap; index++) {
    if (offered[index - from] !== log.leaves[index]) return { status: "fork", index, size };
  }
  if (line.length > Math.max(size, from + entries.length)) return { status: "behind", size };
  if (size === 0 && entries.length === 0) return { status: "push_malformed" };
  const after = line.length > size ? [...log.leaves, ...offered.slice(size - from)] : log.leaves;
  if (line.some((leaf, at) => leaf !== after[at])) return { status: "push_root_wrong" };
  log.leaves = after;
  for (const [at, entry] of entries.entries()) if (entry.kind === "full") log.bodies.add(from + at);
  for (const { index } of fills) {
    if (log.device.events[index]?.leaf === after[index]) log.bodies.add(index);
  }
  return { status: "receipted", size: after.length, owed: owedOf(log) };
}

function owedOf({ leaves, bodies }: Modelled): readonly (readonly [number, number])[] {
  const ranges: [number, number][] = [];
  for (let index = 0; index < leaves.length; index++) {
    if (bodies.has(index)) continue;
    const last = ranges.at(-1);
    if (last?.[1] === index) last[1] = index + 1;
    else ranges.push([index, index + 1]);
  }
  return ranges;
}

async function answerTo(here: TestServer, log: Modelled, sent: Sent): Promise<Expected> {
  try {
    const answer: PushAnswer = await here.push(log.device, sent.request);
    if (answer.status === "receipted") expectProven(answer);
    const { status, size } = answer;
    if (answer.status === "receipted") return { status, size, owed: answer.owed };
    return answer.status === "fork" ? { status, index: answer.index, size } : { status, size };
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
    return { status: error.code };
  }
}

function expectProven(answer: Extract<PushAnswer, { status: "receipted" }>): void {
  const tree = parseCheckpoint(parseNote(answer.checkpoint).text);
  expect(checkProvenLeaf(crypto, answer.receipt, tree)).toBe(true);
  expect(parseStatement(answer.receipt.text)).toMatchObject({
    size: answer.size,
    owed: answer.owed,
  });
}

async function take(here: TestServer, logs: readonly Modelled[], together: readonly Step[]) {
  const sent: (readonly [Modelled, Sent])[] = [];
  for (const step of together) {
    const log = logs[step.device] as Modelled;
    if (step.act === "record") log.device.record(Array.from({ length: step.count }, () => ({})));
    else if (step.act === "branch") {
      log.branches.push(branchOff(log, step.count));
      log.device.record([{}]);
    } else {
      const branch = log.branches[step.from % Math.max(1, log.branches.length)];
      const picked = step.act === "repeat" ? log.last : step.act === "push" ? undefined : branch;
      log.last = picked ?? choose(log, step);
      sent.push([log, log.last]);
    }
  }
  // The loop takes calls in the order in which they came, whatever group they fall into.
  const answers = sent.map(([log, one]) => answerTo(here, log, one));
  const predictions = sent.map(([log, one]) => predict(log, one));
  expect(await Promise.all(answers)).toEqual(predictions);
}

async function expectHeld(here: TestServer, logs: readonly Modelled[]): Promise<void> {
  const events = await here.reads.events(here.tenant, "*", 0, 10_000);
  expect(events.map(({ position }) => position)).toEqual(events.map((_, at) => at + 1));
  for (const log of logs) {
    const { device, incarnation } = log.device;
    const row = await here.reads.deviceLog(here.tenant, device, incarnation);
    expect(row?.owed).toEqual(owedOf(log));
    const leaves = await here.reads.leavesOf(here.tenant, device, incarnation, 0, row?.size ?? 0);
    expect(leaves).toEqual(log.leaves);
    const placed = events.filter((event) => event.device === device);
    const expected = [...log.bodies].map((index) => [index, log.leaves[index]]);
    const leafOf = (header: string): string => base64url(leafHash(crypto, utf8(header)));
    expect(placed.map(({ index, header }) => [index, leafOf(header)]).toSorted(byFirst)).toEqual(
      expected.toSorted(byFirst),
    );
  }
}

function byFirst(a: readonly unknown[], b: readonly unknown[]): number {
  return Number(a[0]) - Number(b[0]);
}

/** A replica that pulls in pages sees every event of the others once, in order. */
async function expectPulled(here: TestServer, page: number): Promise<void> {
  const seen: number[] = [];
  const caller = callerOf(here.founder);
  const asked = { scopes: "*", bytes: 10_000, checkpoint: 0, held: {}, events: page } as const;
  for (let after = 0; ;) {
    const answer = await here.server.pull(caller, { ...asked, after });
    seen.push(...answer.events.map(({ position }) => position));
    if (answer.next === answer.head) break;
    expect(answer.next).toBeGreaterThan(after);
    after = answer.next;
  }
  const events = await here.reads.events(here.tenant, "*", 0, 10_000);
  const others = events.filter(({ device }) => device !== here.founder.device);
  expect(seen).toEqual(others.map(({ position }) => position));
}

test("what the server answers and holds is what the model says", async () => {
  await fc.assert(
    fc.asyncProperty(steps, fc.integer({ min: 1, max: 5 }), async (rounds, page) => {
      const driver = openPlainSqlite({ path: ":memory:", readOnly: false });
      const here = await createTestServer({ crypto, driver });
      const devices = [here.founder, await here.join(), await here.join()];
      const logs = devices.map((device): Modelled => ({
        device,
        leaves: [],
        bodies: new Set(),
        branches: [],
        last: undefined,
      }));
      for (const together of rounds) await take(here, logs, together);
      await expectHeld(here, logs);
      await expectPulled(here, page);
      await here.close();
    }),
    { numRuns: 120 },
  );
});

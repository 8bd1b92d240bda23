import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createLogWriter, type DeviceLog, type LogRows, verifyRows } from "./log.ts";

/** What is done to a log: commits of so many events, and new incarnations between them. */
const history = fc
  .tuple(
    fc.integer({ min: 0, max: 2 ** 31 }),
    fc.array(
      fc.oneof(
        fc.record({ kind: fc.constant("commit" as const), events: fc.integer({ min: 1, max: 5 }) }),
        fc.record({ kind: fc.constant("open" as const), events: fc.integer({ min: 0, max: 3 }) }),
      ),
      { minLength: 1, maxLength: 6 },
    ),
  )
  .map(([seed, steps]) => ({ seed, steps }));

function generate({
  seed,
  steps,
}: {
  seed: number;
  steps: readonly { kind: string; events: number }[];
}) {
  const writer = createLogWriter(`generated ${seed}`);
  let log: DeviceLog = writer.open("0");
  const drafts = (count: number, step: number) =>
    Array.from({ length: count }, (_, at) => ({
      stream: `stream ${(seed + at + step) % 3}`,
      scope: `scope ${(seed + at + step) % 3}`,
      sections: [["content", `{"data":${at}}`] as const, ["notes", "{}"] as const],
      independent: (seed + at) % 2 === 0,
    }));
  for (const [at, { kind, events }] of steps.entries()) {
    if (kind === "commit") writer.append(log, drafts(events, at));
    else log = writer.open(`${at + 1}`, { before: log, also: drafts(events, at) });
  }
  return writer;
}

type Mutation = (rows: LogRows, choose: (length: number) => number) => boolean;

function remove<T>(list: T[], at: number): boolean {
  return list.splice(at, 1).length === 1;
}

/** Another character of the same alphabet in the place of one. */
function altered(text: string, at: number): string {
  return `${text.slice(0, at)}${text[at] === "A" ? "B" : "A"}${text.slice(at + 1)}`;
}

const textColumns = [
  "leaf",
  "id",
  "device",
  "incarnation",
  "type",
  "stream",
  "actor",
  "header",
] as const;
const numberColumns = ["position", "sequence", "recordedAt"] as const;

const mutations: Readonly<Record<string, Mutation>> = {
  "an event removed": (rows, choose) => remove(rows.events, choose(rows.events.length)),
  "two events swapped": (rows, choose) => {
    const at = choose(rows.events.length - 1);
    const [a, b] = [rows.events[at], rows.events[at + 1]];
    if (a === undefined || b === undefined) return false;
    rows.events[at] = { ...b, position: a.position };
    rows.events[at + 1] = { ...a, position: b.position };
    return true;
  },
  "a text column altered": (rows, choose) => {
    const at = choose(rows.events.length);
    const row = rows.events[at];
    if (row === undefined) return false;
    const column = textColumns[choose(textColumns.length)] ?? "header";
    rows.events[at] = { ...row, [column]: altered(row[column], choose(row[column].length)) };
    return true;
  },
  "an incarnation renamed in all its rows": (rows, choose) => {
    const row = rows.events[choose(rows.events.length)];
    if (row === undefined) return false;
    const renamed = <T extends { readonly incarnation: string }>(other: T): T =>
      other.incarnation === row.incarnation ? { ...other, incarnation: "no name" } : other;
    rows.events = rows.events.map(renamed);
    rows.notes = rows.notes.map(renamed);
    return true;
  },
  "a number column altered": (rows, choose) => {
    const at = choose(rows.events.length);
    const row = rows.events[at];
    if (row === undefined) return false;
    const column = numberColumns[choose(numberColumns.length)] ?? "position";
    rows.events[at] = { ...row, [column]: row[column] + 1 + choose(3) };
    return true;
  },
  "a frame removed": (rows, choose) => remove(rows.frames, choose(rows.frames.length)),
  "a frame altered": (rows, choose) => {
    const at = choose(rows.frames.length);
    const frame = rows.frames[at];
    if (frame === undefined || frame.bytes === null) return false;
    const bytes = Uint8Array.from(frame.bytes);
    const place = choose(bytes.length);
    bytes[place] = (bytes[place] ?? 0) ^ (1 + choose(255));
    rows.frames[at] = { ...frame, bytes };
    return true;
  },
  "the frames of two events swapped": (rows, choose) => {
    const at = choose(rows.frames.length);
    const other = rows.frames.findIndex(
      ({ position, section }) =>
        position !== rows.frames[at]?.position && section === rows.frames[at]?.section,
    );
    const [a, b] = [rows.frames[at], rows.frames[other]];
    if (a === undefined || b === undefined) return false;
    rows.frames[at] = { ...a, bytes: b.bytes };
    rows.frames[other] = { ...b, bytes: a.bytes };
    return true;
  },
  // An earlier note that is gone is no finding: the newest signature covers its root.
  "the newest note of a log removed": (rows) => remove(rows.notes, rows.notes.length - 1),
  "the head of a stream removed": (rows, choose) =>
    remove(rows.streams, choose(rows.streams.length)),
  "a note altered": (rows, choose) => {
    const at = choose(rows.notes.length);
    const row = rows.notes[at];
    if (row === undefined) return false;
    // The blank line and the line ends are text as well.
    rows.notes[at] = { ...row, note: altered(row.note, choose(row.note.length)) };
    return true;
  },
  "a root altered": (rows, choose) => {
    const at = choose(rows.notes.length);
    const row = rows.notes[at];
    if (row === undefined) return false;
    rows.notes[at] = { ...row, root: altered(row.root, choose(43)) };
    return true;
  },
  "two notes swapped": (rows, choose) => {
    const at = choose(rows.notes.length - 1);
    const [a, b] = [rows.notes[at], rows.notes[at + 1]];
    if (a === undefined || b === undefined) return false;
    rows.notes[at] = { ...a, note: b.note };
    rows.notes[at + 1] = { ...b, note: a.note };
    return true;
  },
};

function copyOf(rows: LogRows): LogRows {
  const { events, frames, notes, streams } = rows;
  return { events: [...events], frames: [...frames], notes: [...notes], streams: [...streams] };
}

describe("generated logs of several incarnations", () => {
  it("verify", () => {
    fc.assert(
      fc.property(history, fc.boolean(), (steps, allNotes) => {
        const writer = generate(steps);
        const verdict = verifyRows(writer.rows, writer, { allNotes });
        expect(verdict.problems).toEqual([]);
        expect(verdict.commits).toBe(writer.rows.notes.length);
        expect(verdict.sections).toBe(writer.rows.frames.length);
      }),
      { numRuns: 40 },
    );
  });

  it.each(Object.keys(mutations))("do not verify with %s", (name) => {
    let mutated = 0;
    fc.assert(
      fc.property(history, fc.infiniteStream(fc.nat()), (steps, chances) => {
        const writer = generate(steps);
        const rows = copyOf(writer.rows);
        const choose = (length: number): number =>
          length < 1 ? 0 : Number(chances.next().value) % length;
        if (mutations[name]?.(rows, choose) !== true) return;
        mutated += 1;
        const { problems } = verifyRows(rows, writer, { allNotes: true });
        expect(problems).not.toEqual([]);
      }),
      { numRuns: 60 },
    );
    expect(mutated).toBeGreaterThan(20);
  });
});

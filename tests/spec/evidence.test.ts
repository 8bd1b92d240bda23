/** What the verifier says about each defect, whole: a third party judges by object and message, not by a code. */
import { describe, expect, it } from "vitest";
import {
  canonicalJson,
  type EventRow,
  type Header,
  type LogSource,
  verifyLog,
} from "@holdfast/core";
import { createLogWriter, type LogRows, sourceOf, tenant, verifyRows } from "./log.ts";
import { incarnationVectors, logVectors } from "./log-vectors.ts";
import { crypto, pseudonym, signingKey } from "./ports.ts";

const all = [...logVectors(), ...incarnationVectors()];

/** Names of the vectors' incarnations and streams, so that the evidence reads without digests. */
function plain(text: string): string {
  return text
    .replace(/of [0-9a-f]{16}$/, "of INC")
    .replaceAll(pseudonym("stream/diary"), "DIARY")
    .replaceAll(pseudonym("stream/weight"), "WEIGHT")
    .replace(/^stream [A-Za-z0-9_-]{22}$/, "stream DEVICE");
}

function evidence(name: string): readonly string[] {
  const made = all.find(([vector]) => vector.name === name)?.[1];
  if (made === undefined) throw new Error(`no vector ${name}`);
  const { problems } = verifyRows(made.rows, made.writer, { allNotes: true });
  return problems.map(
    ({ code, object, message }) => `${code} | ${plain(object)} | ${plain(message)}`,
  );
}

const rootAt = (size: number) =>
  `root_wrong | commit ${size} of INC | the events give another root`;
const noteAt = (size: number) =>
  `note_wrong | commit ${size} of INC | the note says something else than the events`;
const linkAt = (at: number) => `link_broken | event ${at} | prev is not the leaf before`;
const headOf = (stream: string) =>
  `stream_wrong | stream ${stream} | its head is not what its events add up to`;
const forged =
  "succession_forged | sequence 1 of INC | the predecessor's key did not sign the succession";
const predecessor =
  "predecessor_wrong | sequence 1 of INC | size and root are not the predecessor's";

const expected: Readonly<Record<string, readonly string[]>> = {
  untouched: [],
  "first event missing": [
    "position_gap | event 2 | expected position 1",
    "sequence_gap | event 2 | expected sequence 1",
    rootAt(1),
    noteAt(1),
    "sequence_gap | event 3 | expected sequence 2",
    "sequence_gap | event 4 | expected sequence 3",
    rootAt(3),
    noteAt(3),
    "tail_missing | sequence 4 of INC | a note attests 4 events",
    headOf("DEVICE"),
  ],
  "last event missing": [
    "tail_missing | sequence 4 of INC | a note attests 4 events",
    headOf("WEIGHT"),
  ],
  "two events swapped": [
    "sequence_gap | event 2 | expected sequence 2",
    "stream_gap | event 2 | expected counter 1",
    "frame_missing | event 2 | section content",
    "sequence_gap | event 3 | expected sequence 3",
    "stream_gap | event 3 | expected counter 3",
    rootAt(3),
    noteAt(3),
    "frame_missing | event 3 | section ",
    linkAt(4),
    rootAt(4),
    noteAt(4),
    headOf("DIARY"),
  ],
  "header with a space": [
    'header_malformed | event 2 | canonical at ""',
    linkAt(3),
    "stream_gap | event 3 | expected counter 1",
    rootAt(3),
    noteAt(3),
    rootAt(4),
    noteAt(4),
  ],
  "leaf of another event": ["leaf_wrong | event 4 | the leaf is not the hash of the header"],
  "column actor altered": ["column_wrong | event 2 | actor is not as the header says"],
  "column type altered": ["column_wrong | event 2 | type is not as the header says"],
  "the same without sections": [linkAt(3), rootAt(3), noteAt(3), rootAt(4), noteAt(4)],
  "frame gone without a shred": ["frame_absent | event 3 | section content is shredded"],
  "another tenant's event": [
    "column_wrong | event 4 | tenant is not as the header says",
    rootAt(4),
    noteAt(4),
  ],
  "stream in another scope": [
    "scope_changed | event 3 | a stream has one scope",
    rootAt(3),
    noteAt(3),
    "frame_altered | event 3 | section content",
    linkAt(4),
    rootAt(4),
    noteAt(4),
  ],
  "last note missing": ["commit_missing | sequence 4 of INC | no note covers it"],
  "all notes missing": ["commit_missing | sequence 1 of INC | no note covers it"],
  "root column of a note altered": [rootAt(3)],
  "note moved to another size": [noteAt(3)],
  "head of a stream missing": ["stream_missing | stream WEIGHT | its head is gone"],
  "foreign key in the keyring": [
    "key_foreign | event 1 | the signing key is not the one in the keyring",
  ],
  "two successors": [],
  "first whose device is another": [
    "device_wrong | event 1 | the device is not the digest of its first key",
  ],
  "first of a small-order key": [
    "key_refused | event 1 | the signing key is outside the signature profile",
  ],
  "succession signed by another key": [forged],
  "succession over another size": [predecessor, forged],
  "succession over another root": [predecessor, forged],
  "unknown predecessor": [
    "predecessor_missing | sequence 1 of INC | the predecessor's log is not here",
  ],
};

describe("evidence", () => {
  it.each(Object.entries(expected))("of: %s", (name, lines) => {
    expect(evidence(name)).toEqual(lines);
  });
});

/** One device log: the opening, two events of a diary with a section each, a weight; three commits. */
function fresh() {
  const writer = createLogWriter("evidence");
  const log = writer.open("one");
  const sections = [["content", '{"data":{"minutes":7}}']] as const;
  writer.append(log, [
    { stream: "diary", scope: "ada", sections },
    { stream: "diary", scope: "ada", sections },
  ]);
  writer.append(log, [{ stream: "weight", scope: "ada", sections: [] }]);
  return { writer, log, rows: writer.rows };
}

function deps(rows: LogRows, writer: ReturnType<typeof fresh>["writer"], source?: LogSource) {
  return {
    crypto,
    source: source ?? sourceOf(rows),
    tenant,
    dataKey: writer.dataKey,
    ownKey: writer.ownKey,
    isShredded: () => false,
    openSections: true,
    allNotes: false,
  };
}

/** Another letter near the end of the signature: still base64, no signature of that key. */
function withAlteredSignature(rows: LogRows, index: number): void {
  const row = rows.notes[index];
  if (row === undefined) throw new Error("no such note");
  const at = row.note.length - 20;
  const other = row.note[at] === "A" ? "B" : "A";
  rows.notes[index] = { ...row, note: row.note.slice(0, at) + other + row.note.slice(at + 1) };
}

const codes = (verdict: ReturnType<typeof verifyLog>): readonly string[] =>
  verdict.problems.map(({ code }) => code);

describe("the verifier", () => {
  it.each([
    ["id", { id: "x" }],
    ["device", { device: "A".repeat(22) }],
    ["incarnation", { incarnation: "0".repeat(16) }],
    ["sequence", { sequence: 9 }],
    ["stream", { stream: "x" }],
    ["type", { type: "x" }],
    ["actor", { actor: "x" }],
    ["recorded_at", { recordedAt: 9 }],
  ])("names the column %s that is not as the header says", (column, change) => {
    const { rows, writer } = fresh();
    rows.events[2] = { ...(rows.events[2] as EventRow), ...change };
    const wrong = verifyRows(rows, writer).problems.filter(({ code }) => code === "column_wrong");
    expect(wrong).toEqual([
      { code: "column_wrong", object: "event 3", message: `${column} is not as the header says` },
    ]);
  });

  it("opens sections only when it is told to, and counts those that agree", () => {
    const { rows, writer } = fresh();
    expect(verifyRows(rows, writer)).toEqual({ events: 4, commits: 3, sections: 2, problems: [] });
    rows.frames = [];
    expect(verifyRows(rows, writer, { openSections: false })).toEqual({
      events: 4,
      commits: 3,
      sections: 0,
      problems: [],
    });
    expect(codes(verifyRows(rows, writer))).toEqual(["frame_missing", "frame_missing"]);
  });

  it("takes shredded content for gone only where the log accounts for it", () => {
    const { rows, writer } = fresh();
    rows.frames = rows.frames.map((frame) => ({ ...frame, state: "shredded", bytes: null }));
    const accounted = verifyRows(rows, writer, { shredded: true });
    expect(accounted).toMatchObject({ problems: [], sections: 2 });
    expect(codes(verifyRows(rows, writer))).toEqual(["frame_absent", "frame_absent"]);
    // A shred accounts for shredded frames, not for frames that are gone for another reason.
    rows.frames = rows.frames.map((frame) => ({ ...frame, state: "owed" }));
    expect(verifyRows(rows, writer, { shredded: true }).problems[0]).toEqual({
      code: "frame_absent",
      object: "event 2",
      message: "section content is owed",
    });
    rows.frames = rows.frames.map((frame) => ({ ...frame, state: "present" }));
    expect(codes(verifyRows(rows, writer))).toEqual(["frame_malformed", "frame_malformed"]);
  });

  it("asks whether that section of that scope was shredded", () => {
    const { rows, writer } = fresh();
    rows.frames = rows.frames.map((frame) => ({ ...frame, state: "shredded", bytes: null }));
    const asked: string[] = [];
    const isShredded = (scope: string, section: string) => {
      asked.push(`${scope} ${section}`);
      return true;
    };
    expect(verifyLog({ ...deps(rows, writer), isShredded }).problems).toEqual([]);
    expect(asked).toEqual([1, 2].map(() => `${pseudonym("scope/ada")} content`));
  });

  it("finds a frame under a name that the header does not have", () => {
    const { rows, writer } = fresh();
    rows.frames = rows.frames.map((frame) => ({ ...frame, section: "other" }));
    expect(verifyRows(rows, writer).problems).toEqual(
      [2, 3].map((at) => {
        return { code: "frame_missing", object: `event ${at}`, message: "section content" };
      }),
    );
  });

  it("checks every signature on demand, the newest one always", () => {
    const { rows, writer } = fresh();
    withAlteredSignature(rows, 1);
    expect(verifyRows(rows, writer).problems).toEqual([]);
    expect(codes(verifyRows(rows, writer, { allNotes: true }))).toEqual(["signature_wrong"]);
    withAlteredSignature(rows, 2);
    expect(codes(verifyRows(rows, writer))).toEqual(["signature_wrong"]);
    const both = ["signature_wrong", "signature_wrong"];
    expect(codes(verifyRows(rows, writer, { allNotes: true }))).toEqual(both);
  });

  it("says what is the matter with a note", () => {
    const { rows, writer, log } = fresh();
    withAlteredSignature(rows, 2);
    const object = `commit 4 of ${log.incarnation}`;
    expect(verifyRows(rows, writer).problems).toEqual([
      { code: "signature_wrong", object, message: "the note is bad-signature" },
    ]);
    rows.notes[2] = { ...(rows.notes[2] as LogRows["notes"][number]), note: "no note" };
    expect(verifyRows(rows, writer, { allNotes: true }).problems).toEqual([
      { code: "note_malformed", object, message: "the note is not a signed checkpoint" },
    ]);
  });

  it("finds a note at a size where no event ends", () => {
    const { rows, writer } = fresh();
    const [first, second, third] = rows.notes;
    if (first === undefined || second === undefined || third === undefined) throw new Error("3");
    rows.notes = [first, { ...second, size: 0 }, third];
    const whole = sourceOf(rows);
    let asked = 0;
    const source: LogSource = {
      ...whole,
      notes: (...query) => {
        asked += 1;
        return asked === 1 ? rows.notes : whole.notes(...query);
      },
    };
    expect(verifyLog(deps(rows, writer, source)).problems).toContainEqual({
      code: "commit_misplaced",
      object: `commit 0 of ${second.incarnation}`,
      message: "no event ends there",
    });
  });

  it("refuses a key that the keyring does not have, and rows that are not own", () => {
    const { rows, writer } = fresh();
    const without = { ...writer, ownKey: () => undefined };
    expect(codes(verifyRows(rows, without))).toEqual(["key_foreign"]);
    rows.events[0] = { ...(rows.events[0] as EventRow), own: 0 };
    expect(codes(verifyRows(rows, writer))).toEqual(["key_foreign"]);
  });

  it("needs an opening at the start of each device log", () => {
    const { writer, log, rows } = fresh();
    const plainLog = createLogWriter("no opening");
    const bare = { ...log, head: { leaf: "A".repeat(43), range: { size: 0, hashes: [] } } };
    plainLog.append(bare, [{ stream: "diary", scope: "ada", sections: [] }]);
    expect(verifyRows(plainLog.rows, plainLog).problems).toEqual([
      {
        code: "opening_missing",
        object: "event 1",
        message: "a device log begins with IncarnationOpened",
      },
    ]);
    const [first] = rows.events;
    const newer = canonicalJson({ ...(JSON.parse((first as EventRow).header) as Header), v: 2 });
    rows.events[0] = { ...(first as EventRow), header: newer };
    const problems = verifyRows(rows, writer).problems.map(
      ({ code, object, message }) => `${code} | ${object} | ${message}`,
    );
    expect(problems).toContain(
      "opening_newer | event 1 | the key that signs this log cannot be read",
    );
    expect(problems.join("\n")).not.toContain("column_wrong");
  });

  it("says that rows cannot be read when there are fewer than the source counts", () => {
    const { rows, writer } = fresh();
    const source = { ...sourceOf(rows), count: () => 6 };
    expect(verifyLog(deps(rows, writer, source)).problems).toEqual([
      { code: "event_missing", object: "event 5", message: "rows cannot be read" },
    ]);
  });

  it("tells its progress after each page", () => {
    const { rows, writer } = fresh();
    const whole = sourceOf(rows);
    const source = { ...whole, events: (after: number) => whole.events(after, 3) };
    const told: string[] = [];
    const onProgress = (done: number, total: number) => told.push(`${done} of ${total}`);
    expect(verifyLog({ ...deps(rows, writer, source), onProgress }).problems).toEqual([]);
    expect(told).toEqual(["3 of 4", "4 of 4"]);
  });

  it("reads pages of 1,000 rows of events, notes and streams, each from where the last ended", () => {
    const writer = createLogWriter("pages");
    const log = writer.open("one");
    for (let at = 0; at < 3; at++) {
      writer.append(log, [{ stream: `stream ${at}`, scope: "ada", sections: [] }]);
    }
    const whole = sourceOf(writer.rows);
    const limits = new Set<number>();
    const source: LogSource = {
      ...whole,
      events: (after, limit) => (limits.add(limit), whole.events(after, 1)),
      streams: (after, limit) => (limits.add(limit), whole.streams?.(after, 1) ?? []),
      notes: (device, incarnation, after, limit) => {
        if (limit > 1) limits.add(limit);
        return whole.notes(device, incarnation, after, 1);
      },
    };
    expect(verifyLog(deps(writer.rows, writer, source))).toMatchObject({
      events: 4,
      commits: 4,
      problems: [],
    });
    expect([...limits]).toEqual([1_000]);
  });

  it("verifies a source that keeps no heads of streams", () => {
    const { rows, writer } = fresh();
    const { streams: _, ...source } = sourceOf(rows);
    expect(verifyLog(deps(rows, writer, source)).problems).toEqual([]);
  });

  it.each([
    ["scope", { scope: "x" }],
    ["vector", { vector: "{}" }],
    ["frontier", { frontier: "{}" }],
    ["vector that is no JSON", { vector: "{" }],
  ])("finds a head of a stream with another %s", (_, change) => {
    const { rows, writer } = fresh();
    rows.streams = rows.streams.map((row, at) => (at === 1 ? { ...row, ...change } : row));
    expect(codes(verifyRows(rows, writer))).toEqual(["stream_wrong"]);
  });

  it("finds the head of a stream that has no events", () => {
    const { rows, writer } = fresh();
    rows.streams.push({ stream: "~".repeat(30), scope: "x", vector: "{}", frontier: "{}" });
    expect(verifyRows(rows, writer).problems).toEqual([
      {
        code: "stream_wrong",
        object: `stream ${"~".repeat(22)}`,
        message: "its head is not what its events add up to",
      },
    ]);
  });

  it("stops at 1,000 problems", () => {
    const { rows, writer } = fresh();
    const [first] = rows.events;
    rows.events = Array.from({ length: 1_100 }, (_, at) => {
      return { ...(first as EventRow), position: at + 1, header: "{" };
    });
    expect(verifyRows(rows, writer).problems).toHaveLength(1_000);
  });

  it("does not vouch for a successor whose predecessor's key is unknown", () => {
    const writer = createLogWriter("successor");
    const first = writer.open("one");
    writer.open("two", { before: first });
    const [, ...later] = writer.rows.events;
    const rows = { ...writer.rows, events: later.map((row) => ({ ...row, position: 1 })) };
    rows.notes = rows.notes.filter(({ incarnation }) => incarnation !== first.incarnation);
    expect(codes(verifyRows(rows, writer))).toContain("predecessor_missing");
    expect(signingKey("successor/one").device).toBe(first.device);
  });
});

/** Whole small logs, each with at most one defect, and what the verifier says first about it. */
import {
  base64,
  base64url,
  canonicalJson,
  concat,
  deviceLogOrigin,
  type EventRow,
  formatCheckpoint,
  type FrameRow,
  fromBase64,
  type Header,
  type IncarnationPub,
  leafHash,
  noPrevious,
  parseCheckpoint,
  parseNote,
  utf8,
} from "@holdfast/core";
import {
  createLogWriter,
  type LogRows,
  type LogWriter,
  signedNote,
  tenant,
  verifyRows,
} from "./log.ts";
import { crypto, pseudonym, seededRandom, signingKey, type SigningKey } from "./ports.ts";

export interface LogVector {
  readonly name: string;
  /** `ok`, or the code of the first problem. */
  readonly expect: string;
  readonly tenant: string;
  /** SPKI that the keyring has for each incarnation, base64. */
  readonly own: Readonly<Record<string, string>>;
  readonly keys: readonly {
    readonly id: string;
    readonly generation: number;
    readonly key: string;
  }[];
  readonly events: readonly EventRow[];
  readonly frames: readonly (Omit<FrameRow, "bytes"> & {
    readonly position: number;
    readonly bytes: string | null;
  })[];
  readonly notes: LogRows["notes"];
  readonly streams: LogRows["streams"];
}

/** Rows and the keys to read them. */
export interface Made {
  readonly rows: LogRows;
  readonly writer: LogWriter;
}

function rowsVector(name: string, expect: string, { rows, writer }: Made): LogVector {
  const incarnations = new Set(rows.events.map(({ incarnation }) => incarnation));
  const own = [...incarnations].map((incarnation) => {
    return [incarnation, base64(writer.ownKey(incarnation) ?? new Uint8Array(0))] as const;
  });
  return {
    name,
    expect,
    tenant,
    own: Object.fromEntries(own),
    keys: writer
      .dataKeys()
      .map(({ id, generation, bytes }) => ({ id, generation, key: base64(bytes) })),
    events: rows.events,
    frames: rows.frames.map((frame) => ({
      ...frame,
      bytes: frame.bytes === null ? null : base64(frame.bytes),
    })),
    notes: rows.notes,
    streams: rows.streams,
  };
}

/** The first problem that the verifier names, every signature checked; `ok` when there is none. */
export function firstProblem({ rows, writer }: Made): string {
  const { problems } = verifyRows(rows, writer, { allNotes: true });
  return problems[0]?.code ?? "ok";
}

function fresh(): Made & { readonly log: ReturnType<LogWriter["open"]> } {
  const writer = createLogWriter("logs");
  const log = writer.open("one");
  const sections = [["content", '{"data":{"minutes":7}}']] as const;
  writer.append(log, [
    { stream: "diary", scope: "ada", sections: [] },
    { stream: "diary", scope: "ada", sections },
  ]);
  writer.append(log, [{ stream: "weight", scope: "ada", sections: [], independent: true }]);
  return { writer, rows: writer.rows, log };
}

type Change = (rows: LogRows, made: ReturnType<typeof fresh>) => void;

function at<T>(list: readonly T[], index: number): T {
  const found = list[index];
  if (found === undefined) throw new Error("the base log has no such row");
  return found;
}

function setEvent(rows: LogRows, index: number, change: Partial<EventRow>): void {
  rows.events[index] = { ...at(rows.events, index), ...change };
}

/** A header with other fields, with its columns and leaf kept in step: only the tree can tell. */
function setHeader(rows: LogRows, index: number, change: Partial<Header>): void {
  const row = at(rows.events, index);
  const header = { ...(JSON.parse(row.header) as Header), ...change };
  const text = canonicalJson(header);
  setEvent(rows, index, {
    header: text,
    leaf: base64url(leafHash(crypto, utf8(text))),
    id: header.id,
    sequence: header.seq,
    stream: header.stream,
    actor: header.act,
    recordedAt: header.at,
    type: header.type,
  });
}

function swapped(rows: LogRows, a: number, b: number): void {
  const [first, second] = [at(rows.events, a), at(rows.events, b)];
  rows.events[a] = { ...second, position: first.position };
  rows.events[b] = { ...first, position: second.position };
}

/** Frames without bytes, as a shred leaves them. */
function shredded(rows: LogRows): LogRows {
  rows.frames = rows.frames.map((frame) => ({ ...frame, state: "shredded", bytes: null }));
  return rows;
}

const defects: readonly (readonly [name: string, code: string, change: Change])[] = [
  ["untouched", "ok", () => undefined],
  ["first event missing", "position_gap", (rows) => void rows.events.shift()],
  ["event in the middle missing", "position_gap", (rows) => void rows.events.splice(1, 1)],
  ["last event missing", "tail_missing", (rows) => void rows.events.pop()],
  ["all events missing", "tail_missing", (rows) => void (rows.events = [])],
  ["two events swapped", "sequence_gap", (rows) => swapped(rows, 1, 2)],
  [
    "header with a space",
    "header_malformed",
    (rows) => {
      const header = `${at(rows.events, 1).header} `;
      setEvent(rows, 1, { header, leaf: base64url(leafHash(crypto, utf8(header))) });
    },
  ],
  [
    "leaf of another event",
    "leaf_wrong",
    (rows) => setEvent(rows, 3, { leaf: at(rows.events, 2).leaf }),
  ],
  [
    "column actor altered",
    "column_wrong",
    (rows) => setEvent(rows, 1, { actor: pseudonym("other") }),
  ],
  ["column type altered", "column_wrong", (rows) => setEvent(rows, 1, { type: "Other" })],
  ["header and leaf altered", "root_wrong", (rows) => setHeader(rows, 2, { at: 1 })],
  ["the same without sections", "link_broken", (rows) => setHeader(rows, 1, { at: 1 })],
  ["last header and leaf altered", "root_wrong", (rows) => setHeader(rows, 3, { at: 1 })],
  ["frame gone without a shred", "frame_absent", (rows) => void shredded(rows)],
  ["another tenant's event", "column_wrong", (rows) => setHeader(rows, 3, { ten: pseudonym("x") })],
  ["link to another leaf", "link_broken", (rows) => setHeader(rows, 3, { prev: noPrevious })],
  ["stream counter skips", "stream_gap", (rows) => setHeader(rows, 2, { sseq: 3 })],
  [
    "stream in another scope",
    "scope_changed",
    (rows) => setHeader(rows, 2, { scope: pseudonym("x") }),
  ],
  ["frame missing", "frame_missing", (rows) => void rows.frames.pop()],
  ["last note missing", "commit_missing", (rows) => void rows.notes.pop()],
  ["all notes missing", "commit_missing", (rows) => void (rows.notes = [])],
  [
    "root column of a note altered",
    "root_wrong",
    (rows) => {
      rows.notes[1] = { ...at(rows.notes, 1), root: at(rows.notes, 0).root };
    },
  ],
  [
    "note moved to another size",
    "note_wrong",
    (rows) => {
      rows.notes[1] = { ...at(rows.notes, 1), note: at(rows.notes, 0).note };
    },
  ],
  ["head of a stream missing", "stream_missing", (rows) => void rows.streams.pop()],
  ["foreign key in the keyring", "key_foreign", () => undefined],
];

export function logVectors(): readonly (readonly [vector: LogVector, made: Made])[] {
  return defects.map(([name, code, change]) => {
    const made = fresh();
    change(made.rows, made);
    const writer =
      code === "key_foreign"
        ? { ...made.writer, ownKey: () => signingKey("other").spki }
        : made.writer;
    const result = { rows: made.rows, writer };
    return [rowsVector(name, code, result), result] as const;
  });
}

/** Openings and hand-overs. */
export function incarnationVectors(): readonly (readonly [vector: LogVector, made: Made])[] {
  const cases: readonly (readonly [
    name: string,
    code: string,
    alter: (pub: IncarnationPub) => IncarnationPub,
    options?: { readonly first?: boolean; readonly device?: string },
  ])[] = [
    ["two successors", "ok", (pub) => pub],
    [
      "first whose device is another",
      "device_wrong",
      (pub) => pub,
      { first: true, device: "A".repeat(22) },
    ],
    [
      "first of a small-order key",
      "key_refused",
      (pub) => ({
        ...pub,
        spki: base64(
          concat((fromBase64(pub.spki) ?? new Uint8Array(0)).slice(0, 12), new Uint8Array(32)),
        ),
      }),
      { first: true },
    ],
    [
      "succession signed by another key",
      "succession_forged",
      (pub) => ({
        ...pub,
        sig: base64(signingKey("other").sign(utf8("x"))),
      }),
    ],
    ["succession over another size", "predecessor_wrong", (pub) => ({ ...pub, size: 1 })],
    [
      "succession over another root",
      "predecessor_wrong",
      (pub) => ({
        ...pub,
        root: base64(crypto.sha256(utf8("x"))),
      }),
    ],
    [
      "unknown predecessor",
      "predecessor_missing",
      (pub) => ({ ...pub, predecessor: "0".repeat(16) }),
    ],
    ["succession without signature", "header_malformed", ({ sig: _, ...pub }) => pub],
  ];
  return cases.map(([name, code, alter, options = {}]) => {
    const writer = createLogWriter("incarnations");
    const sections = [["content", '{"data":{}}']] as const;
    const also = [{ stream: "diary", scope: "ada", sections }];
    if (options.first === true) {
      writer.open("one", {
        alter,
        also,
        ...(options.device !== undefined && { device: options.device }),
      });
    } else {
      const first = writer.open("one", { also });
      const second = writer.open("two", { before: first, alter, also });
      if (code === "ok")
        writer.open("three", { before: second, reason: "restored", algorithm: "ecdsa-p256" });
    }
    const made = { rows: writer.rows, writer };
    return [rowsVector(name, code, made), made] as const;
  });
}

/** Frames at the place of one section of one event. */
export function frameVectors() {
  const writer = createLogWriter("frames");
  const log = writer.open("one");
  const random = seededRandom("other frame");
  const sections = [
    ["content", '{"data":{"minutes":7}}'],
    ["notes", '{"text":"left side"}'],
  ] as const;
  writer.append(log, [
    { stream: "diary", scope: "ada", sections },
    { stream: "diary", scope: "ada", sections },
  ]);
  const [content, notes, other] = writer.rows.frames.map(({ bytes }) => bytes as Uint8Array);
  const row = at(writer.rows.frames, 0);
  const event = at(writer.rows.events, 1);
  const key = writer.dataKey(row.key, 1);
  if (content === undefined || notes === undefined || other === undefined || key === undefined) {
    throw new Error("three frames at least");
  }
  const leaf = leafHash(crypto, utf8(event.header));
  const flipped = (place: number): Uint8Array => {
    const bytes = Uint8Array.from(content);
    bytes[place < 0 ? bytes.length + place : place] = (bytes.at(place) ?? 0) ^ 1;
    return bytes;
  };
  const nonce = random.bytes(12);
  const sealed = crypto
    .aead(key.frameKey("content", leaf))
    .encrypt(
      nonce,
      concat(random.bytes(32), utf8('{"data":{"minutes":8}}')),
      concat(leaf, utf8("content")),
    );
  const replaced = concat(content.slice(0, 5), nonce, sealed);
  const cases: readonly (readonly [name: string, expect: string, frame: Uint8Array])[] = [
    ["as sealed", "ok", content],
    ["another version", "frame_malformed", flipped(0)],
    ["another generation", "key_missing", flipped(4)],
    ["another nonce", "frame_altered", flipped(5)],
    ["first byte of the ciphertext", "frame_altered", flipped(17)],
    ["last byte of the tag", "frame_altered", flipped(-1)],
    ["one byte short", "frame_altered", content.slice(0, -1)],
    ["too short for salt and tag", "frame_malformed", content.slice(0, 64)],
    ["empty", "frame_malformed", new Uint8Array(0)],
    ["of another section", "frame_altered", notes],
    ["of another event", "frame_altered", other],
    ["of another content, by the right key", "commitment_wrong", replaced],
  ];
  const { id, generation, bytes } = at(writer.dataKeys(), 0);
  return {
    writer,
    event,
    vectors: {
      header: event.header,
      section: "content",
      key: { id, generation, key: base64(bytes) },
      frames: cases.map(([name, expect, frame]) => ({ name, expect, frame: base64(frame) })),
    },
    made: (frame: string): Made => ({
      writer,
      rows: {
        ...writer.rows,
        frames: writer.rows.frames.map((other) =>
          other === row ? { ...other, bytes: fromBase64(frame) ?? null } : other,
        ),
      },
    }),
  };
}

/** Statement of the newest note of a log, with other lines. */
export function otherStatement(
  rows: LogRows,
  change: { readonly incarnation?: string; readonly size?: number; readonly root?: Uint8Array },
): string {
  const last = at(rows.notes, rows.notes.length - 1);
  const { size, root } = parseCheckpoint(parseNote(last.note).text);
  return formatCheckpoint({
    origin: deviceLogOrigin({
      tenant,
      device: last.device,
      incarnation: change.incarnation ?? last.incarnation,
    }),
    size: change.size ?? size,
    root: Uint8Array.from(change.root ?? root),
  });
}

/** The newest note of a log replaced. */
export function withNote({ rows, writer }: Made, note: string): Made {
  const notes = rows.notes.slice();
  notes[notes.length - 1] = { ...at(notes, notes.length - 1), note };
  return { writer, rows: { ...rows, notes } };
}

export function noteOf(made: Made, statement: string, key: SigningKey): string {
  const { device, incarnation } = at(made.rows.notes, made.rows.notes.length - 1);
  return signedNote({ device, incarnation }, statement, key);
}

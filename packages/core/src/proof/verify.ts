/**
 * Verifies an event log from what is stored, row by row, with no code of the writer's.
 *
 * Checked per event: position, canonical header, leaf, the columns beside it, the link to the leaf before,
 * gap-free sequence and stream counters, one scope per stream, and with `commitments` each section against
 * its commitment. Per device log: the tree's root at every commit note, the note's text, the newest note's
 * signature under the signature profile (`allNotes`: every signature), the key's succession, and that no
 * event stands behind the last note and no note behind the last event. The newest signature covers every
 * earlier root, because each root is compared with the one tree that the newest note signs.
 */
import { originKey, noPrevious, type Header } from "../event/event.ts";
import type { DataKey } from "../keys/keyring.ts";
import {
  base64,
  base64url,
  type Bytes,
  concat,
  equalBytes,
  fromBase64,
  utf8,
} from "../std/bytes.ts";
import { canonicalJson } from "../std/jcs.ts";
import { limits } from "../std/limits.ts";
import type { Crypto, SignatureAlgorithm } from "../std/ports.ts";
import { deviceLogOrigin, parseCheckpoint } from "./checkpoint.ts";
import { createNoteVerifier, openNote, parseNote } from "./note.ts";
import { checkPublicKey, verifySignature } from "./signature.ts";
import { preAuthenticationEncoding } from "./dsse.ts";
import { createTreeBuilder, type TreeBuilder } from "./tree.ts";

/** One thing that is not as it must be. */
export interface Problem {
  /** Stable word for the kind of problem. */
  readonly code: string;
  /** What it concerns: `event 17`, `commit 3`, `mark`, `keyring`, `outbox`. */
  readonly object: string;
  readonly message: string;
}

/** A row of the log, as stored. */
export interface EventRow {
  readonly position: number;
  readonly leaf: string;
  readonly id: string;
  readonly device: string;
  readonly incarnation: string;
  readonly own: number;
  readonly sequence: number;
  readonly type: string;
  readonly stream: string;
  readonly actor: string;
  readonly recordedAt: number;
  readonly header: string;
}

export interface FrameRow {
  readonly section: string;
  readonly key: string;
  readonly state: string;
  readonly bytes: Uint8Array | null;
}

/** The stored head of one stream: what appends continue from. */
export interface StreamRow {
  readonly stream: string;
  readonly scope: string;
  /** (device/incarnation) → last counter, JSON. */
  readonly vector: string;
  readonly frontier: string;
}

export interface NoteRow {
  readonly size: number;
  readonly root: string;
  readonly note: string;
}

/** What is verified: rows as they are stored, in order. */
export interface LogSource {
  count(): number;
  events(after: number, limit: number): readonly EventRow[];
  frames(position: number): readonly FrameRow[];
  notes(device: string, incarnation: string, after: number, limit: number): readonly NoteRow[];
  /** In order of their names. */
  streams(after: string, limit: number): readonly StreamRow[];
}

export interface LogVerifyDeps {
  readonly crypto: Crypto;
  readonly source: LogSource;
  readonly tenant: string;
  /** The key to open a section with; `undefined` when it is not here. */
  readonly dataKey: (id: string, generation: number) => DataKey | undefined;
  /** SPKI that the keyring has for an own incarnation. */
  readonly ownKey: (incarnation: string) => Uint8Array | undefined;
  readonly openSections: boolean;
  readonly allNotes: boolean;
  readonly onProgress?: (done: number, total: number) => void;
}

export interface LogVerdict {
  readonly events: number;
  readonly commits: number;
  readonly sections: number;
  readonly problems: readonly Problem[];
}

/** One stream while it is walked. */
interface StreamWalk {
  readonly scope: string;
  readonly counters: Map<string, number>;
  /** Events that no other event has in its past. */
  frontier: Map<string, number>;
}

/** One device log while it is walked. */
interface DeviceWalk {
  readonly device: string;
  readonly incarnation: string;
  readonly tree: TreeBuilder;
  previous: string;
  /** The notes still ahead, read in pages. */
  notes: NoteRow[];
  noteAfter: number;
  lastNote: NoteRow | undefined;
  algorithm: SignatureAlgorithm | undefined;
  spki: Bytes | undefined;
  /** Roots at commit sizes, for successors that name them. */
  readonly roots: Map<number, string>;
}

const pageRows = 1_000;
const problemsMax = 1_000;

export function verifyLog(deps: LogVerifyDeps): LogVerdict {
  const walk = createWalk(deps);
  const total = deps.source.count();
  let after = 0;
  for (;;) {
    const rows = deps.source.events(after, pageRows);
    for (const row of rows) walk.event(row);
    const last = rows.at(-1);
    if (last === undefined) break;
    after = last.position;
    deps.onProgress?.(walk.counts().events, total);
  }
  walk.finish(total);
  return { ...walk.counts(), problems: walk.problems };
}

function createWalk(deps: LogVerifyDeps) {
  const { crypto, source } = deps;
  const problems: Problem[] = [];
  const walks = new Map<string, DeviceWalk>();
  const streams = new Map<string, StreamWalk>();
  let events = 0;
  let commits = 0;
  let sections = 0;

  function problem(code: string, object: string, message: string): void {
    if (problems.length < problemsMax) problems.push({ code, object, message });
  }

  function walkOf(device: string, incarnation: string): DeviceWalk {
    const name = originKey(device, incarnation);
    const known = walks.get(name);
    if (known !== undefined) return known;
    const fresh: DeviceWalk = {
      device,
      incarnation,
      tree: createTreeBuilder(crypto),
      previous: noPrevious,
      notes: [],
      noteAfter: 0,
      lastNote: undefined,
      algorithm: undefined,
      spki: undefined,
      roots: new Map(),
    };
    walks.set(name, fresh);
    return fresh;
  }

  function event(row: EventRow): void {
    const object = `event ${row.position}`;
    events += 1;
    if (row.position !== events) {
      problem("position_gap", object, `expected position ${events}`);
      events = row.position;
    }
    const header = readHeader(row, object);
    const bytes = utf8(row.header);
    const leaf = crypto.sha256(leafPrefix, bytes);
    if (base64url(leaf) !== row.leaf) {
      problem("leaf_wrong", object, "the leaf is not the hash of the header");
    }
    const device = walkOf(row.device, row.incarnation);
    if (header !== undefined) {
      checkColumns(row, header, object);
      checkLinks(device, row, header, object);
      if (deps.openSections) checkSections(row, header, leaf, object);
    }
    device.tree.append(leaf);
    device.previous = row.leaf;
    checkNotes(device);
  }

  function readHeader(row: EventRow, object: string): Header | undefined {
    try {
      const header = JSON.parse(row.header) as Header;
      // Equality with its canonical form excludes duplicate keys, spaces and other spellings of a number.
      if (canonicalJson(header) !== row.header) throw new Error("not canonical");
      if (utf8(row.header).length > limits.headerBytesMax) throw new Error("too large");
      if (typeof header.sec !== "object" || header.sec === null) throw new Error("no sections");
      return header;
    } catch {
      problem("header_malformed", object, "the header is not canonical JSON within the limits");
      return undefined;
    }
  }

  function checkColumns(row: EventRow, header: Header, object: string): void {
    const pairs: readonly (readonly [string, unknown, unknown])[] = [
      ["id", row.id, header.id],
      ["device", row.device, header.dev],
      ["incarnation", row.incarnation, header.inc],
      ["sequence", row.sequence, header.seq],
      ["type", row.type, header.type],
      ["stream", row.stream, header.stream],
      ["actor", row.actor, header.act],
      ["recorded_at", row.recordedAt, header.at],
      ["tenant", deps.tenant, header.ten],
    ];
    for (const [name, stored, sealed] of pairs) {
      if (stored !== sealed) problem("column_wrong", object, `${name} is not as the header says`);
    }
  }

  function checkLinks(device: DeviceWalk, row: EventRow, header: Header, object: string): void {
    if (header.seq !== device.tree.size + 1) {
      problem("sequence_gap", object, `expected sequence ${device.tree.size + 1}`);
    } else if (header.prev !== device.previous) {
      problem("link_broken", object, "prev is not the leaf before");
    }
    if (header.seq === 1) checkOpening(device, row, header, object);
    const origin = originKey(header.dev, header.inc);
    const stream = streams.get(header.stream) ?? {
      scope: header.scope,
      counters: new Map<string, number>(),
      frontier: new Map<string, number>(),
    };
    streams.set(header.stream, stream);
    if (stream.scope !== header.scope) problem("scope_changed", object, "a stream has one scope");
    const expected = (stream.counters.get(origin) ?? 0) + 1;
    if (header.sseq !== expected) problem("stream_gap", object, `expected counter ${expected}`);
    stream.counters.set(origin, header.sseq);
    const left = [...stream.frontier].filter(
      ([other, count]) => other !== origin && (header.vv?.[other] ?? 0) < count,
    );
    stream.frontier = new Map([...left, [origin, header.sseq]]);
  }

  /** The first event of a device log says whose key signs it, and by whose authority. */
  function checkOpening(device: DeviceWalk, row: EventRow, header: Header, object: string): void {
    const { pub } = header;
    const spki = bytesOf(pub?.["spki"]);
    const algorithm = pub?.["alg"];
    if (
      header.type !== "IncarnationOpened" ||
      spki === undefined ||
      (algorithm !== "ed25519" && algorithm !== "ecdsa-p256")
    ) {
      problem("opening_missing", object, "a device log begins with IncarnationOpened");
      return;
    }
    if (checkPublicKey(algorithm, spki) !== undefined) {
      problem("key_refused", object, "the signing key is outside the signature profile");
      return;
    }
    device.algorithm = algorithm;
    device.spki = spki;
    // Nobody vouches for another device's log until it is pulled with its receipt: it is not taken on trust.
    const expected = deps.ownKey(header.inc);
    if (row.own !== 1 || expected === undefined || !equalBytes(expected, spki)) {
      problem("key_foreign", object, "the signing key is not the one in the keyring");
    }
    if (pub?.["predecessor"] === undefined) {
      if (base64url(crypto.sha256(spki)).slice(0, 22) !== header.dev) {
        problem("device_wrong", object, "the device is not the digest of its first key");
      }
      return;
    }
    checkSuccession(header, pub, spki, object);
  }

  function checkSuccession(
    header: Header,
    pub: Readonly<Record<string, unknown>>,
    spki: Uint8Array,
    object: string,
  ): void {
    const before = walks.get(originKey(header.dev, String(pub["predecessor"])));
    if (before?.spki === undefined || before.algorithm === undefined) {
      problem("predecessor_missing", object, "the predecessor's log is not here");
      return;
    }
    if (before.roots.get(Number(pub["size"])) !== pub["root"]) {
      problem("predecessor_wrong", object, "size and root are not the predecessor's");
    }
    const statement = utf8(
      canonicalJson({
        dev: header.dev,
        inc: header.inc,
        predecessor: pub["predecessor"],
        root: pub["root"],
        size: pub["size"],
        spki: base64(spki),
        ten: header.ten,
      }),
    );
    const signed = preAuthenticationEncoding(successionType, statement);
    const signature = bytesOf(pub["sig"]) ?? new Uint8Array(0);
    if (!verifySignature(crypto, before.algorithm, before.spki, signed, signature)) {
      problem("succession_forged", object, "the predecessor's key did not sign the succession");
    }
  }

  function checkSections(row: EventRow, header: Header, leaf: Bytes, object: string): void {
    const frames = source.frames(row.position);
    const named = Object.keys(header.sec);
    if (frames.length !== named.length || frames.some(({ section }) => !named.includes(section))) {
      problem("frame_missing", object, "frames and sections of the header differ");
      return;
    }
    for (const { section, key, state, bytes } of frames) {
      if (state !== "present") {
        problem(
          "frame_absent",
          object,
          `section ${section} is ${state}, and its key was not shredded`,
        );
        continue;
      }
      sections += 1;
      const fault = sectionFault(header, leaf, section, key, bytes);
      if (fault !== undefined) problem(fault, object, `section ${section}`);
    }
  }

  function sectionFault(
    header: Header,
    leaf: Bytes,
    section: string,
    keyId: string,
    frame: Uint8Array | null,
  ): string | undefined {
    if (frame === null || frame.length < 17 + 32 + 16 || frame[0] !== 1) return "frame_malformed";
    const generation = new DataView(frame.buffer, frame.byteOffset).getUint32(1);
    const key = deps.dataKey(keyId, generation);
    if (key === undefined) return "key_missing";
    const frameKey = key.frameKey(section, leaf);
    const aead = crypto.aead(frameKey);
    frameKey.fill(0);
    const aad = concat(leaf, utf8(section));
    const salted = aead.decrypt(frame.subarray(5, 17), frame.subarray(17), aad);
    if (salted === undefined) return "frame_altered";
    const commitment = crypto.sha256(sectionDomain, salted);
    return base64url(commitment) === header.sec[section]?.c ? undefined : "commitment_wrong";
  }

  /** Compares the tree with every note at its size. */
  function checkNotes(device: DeviceWalk): void {
    for (;;) {
      if (device.notes.length === 0) {
        const { device: name, incarnation, noteAfter } = device;
        device.notes = [...source.notes(name, incarnation, noteAfter, pageRows)];
        if (device.notes.length === 0) return;
      }
      const [next] = device.notes as [NoteRow];
      if (next.size > device.tree.size) return;
      device.notes.shift();
      device.noteAfter = next.size;
      device.lastNote = next;
      commits += 1;
      checkNote(device, next, base64(device.tree.root()));
    }
  }

  function checkNote(device: DeviceWalk, row: NoteRow, root: string): void {
    const object = `commit ${row.size} of ${device.incarnation}`;
    device.roots.set(row.size, root);
    if (row.size !== device.tree.size) problem("commit_misplaced", object, "no event ends there");
    if (row.root !== root) problem("root_wrong", object, "the events give another root");
    try {
      const statement = parseCheckpoint(parseNote(row.note).text);
      const { device: name, incarnation } = device;
      const origin = deviceLogOrigin({ tenant: deps.tenant, device: name, incarnation });
      const agrees =
        statement.origin === origin &&
        statement.size === row.size &&
        base64(statement.root) === root;
      if (!agrees) problem("note_wrong", object, "the note says something else than the events");
    } catch {
      problem("note_malformed", object, "the note is not a signed checkpoint");
      return;
    }
    if (deps.allNotes) checkSignature(device, row);
  }

  function checkSignature(device: DeviceWalk, row: NoteRow): void {
    const object = `commit ${row.size} of ${device.incarnation}`;
    if (device.spki === undefined || device.algorithm === undefined) return;
    const { device: name, incarnation, spki, algorithm } = device;
    const origin = deviceLogOrigin({ tenant: deps.tenant, device: name, incarnation });
    const verifier = createNoteVerifier(crypto, { name: origin, algorithm, spki });
    const opened = openNote(row.note, [verifier], (...signed) =>
      verifySignature(crypto, ...signed),
    );
    if (opened.status !== "verified") {
      problem("signature_wrong", object, `the note is ${opened.status}`);
    }
  }

  function finish(total: number): void {
    if (events < total) problem("event_missing", `event ${events + 1}`, "rows cannot be read");
    for (const device of walks.values()) {
      const { tree, lastNote, incarnation } = device;
      if (lastNote === undefined || lastNote.size < tree.size) {
        const from = (lastNote?.size ?? 0) + 1;
        problem("commit_missing", `sequence ${from} of ${incarnation}`, "no note covers it");
      }
      const beyond = source.notes(device.device, incarnation, tree.size, 1)[0];
      if (beyond !== undefined) {
        problem(
          "tail_missing",
          `sequence ${tree.size + 1} of ${incarnation}`,
          `a note attests ${beyond.size} events`,
        );
      }
      if (lastNote !== undefined && !deps.allNotes) checkSignature(device, lastNote);
    }
    checkStreams();
  }

  /** Appends continue from the stored heads, so these must be what the headers add up to. */
  function checkStreams(): void {
    const left = new Set(streams.keys());
    let after = "";
    for (;;) {
      const rows = source.streams(after, pageRows);
      for (const row of rows) {
        left.delete(row.stream);
        const walked = streams.get(row.stream);
        const agrees =
          walked !== undefined &&
          row.scope === walked.scope &&
          sameCounters(row.vector, walked.counters) &&
          sameCounters(row.frontier, walked.frontier);
        const object = `stream ${row.stream.slice(0, 22)}`;
        if (!agrees) problem("stream_wrong", object, "its head is not what its events add up to");
      }
      const last = rows.at(-1);
      if (last === undefined) break;
      after = last.stream;
    }
    for (const stream of left)
      problem("stream_missing", `stream ${stream}`, "its head is not here");
  }

  return { event, finish, problems, counts: () => ({ events, commits, sections }) };
}

function sameCounters(stored: string, walked: ReadonlyMap<string, number>): boolean {
  try {
    return canonicalJson(JSON.parse(stored)) === canonicalJson(Object.fromEntries(walked));
  } catch {
    return false;
  }
}

function bytesOf(value: unknown): Bytes | undefined {
  return typeof value === "string" ? fromBase64(value) : undefined;
}

const leafPrefix = Uint8Array.of(0);
const sectionDomain = utf8("holdfast/section/v1\n");
const successionType = "application/vnd.holdfast.succession+json";

/**
 * Verifies an event log from what is stored, row by row, with no code of the writer's.
 *
 * Checked per event: position, the whole header profile, leaf, the columns beside it, the link to the leaf
 * before, gap-free sequence and stream counters, one scope per stream, and with `openSections` each section
 * against its commitment. Per device log: the tree's root at every commit note, the note's text, the newest
 * note's signature under the signature profile (`allNotes`: every signature), the key's succession, and that
 * no event stands behind the last note and no note behind the last event. The newest signature covers every
 * earlier root, because each root is compared with the one tree that the newest note signs.
 *
 * Logs of other installations are parts: `verify-foreign-log.ts` checks them against what was pulled with them.
 * What the server stated of own logs, and that its checkpoints are one chain, is checked as well.
 */
import { type Header, originKey } from "../event/event.ts";
import { isCurrentHeader, type NewerHeader, parseHeader } from "../event/header.ts";
import { base64url, type Bytes, concat, utf8 } from "../std/bytes.ts";
import { isHoldfastError } from "../std/errors.ts";
import { type EventRow, type LogVerifyDeps, pageRows, type Problem } from "./log-source.ts";
import { type DeviceLogWalk, walkDeviceLog } from "./verify-device-log.ts";
import { walkForeignLog } from "./verify-foreign-log.ts";
import { checkOwnReceipts } from "./verify-own-receipts.ts";
import { walkServerLog } from "./verify-server-log.ts";
import { walkStreams } from "./verify-streams.ts";
import { walkWithheld } from "./verify-withheld.ts";

/** What verification found. */
export interface LogVerdict {
  readonly events: number;
  readonly commits: number;
  /** Sections that were opened and compared. */
  readonly sections: number;
  readonly problems: readonly Problem[];
}

const problemsMax = 1_000;

/** Walks a whole log and says what is not as it must be; never throws for what it finds. */
export function verifyLog(deps: LogVerifyDeps): LogVerdict {
  const { crypto, source } = deps;
  const problems: Problem[] = [];
  const report = (code: string, object: string, message: string): void => {
    if (problems.length < problemsMax) problems.push({ code, object, message });
  };
  const logs = new Map<string, DeviceLogWalk>();
  const streams = walkStreams(source, report);
  let events = 0;
  let sections = 0;

  const { sync } = source;
  const serverLog = sync === undefined ? undefined : walkServerLog(crypto, sync, report);
  const withheld = sync === undefined ? undefined : walkWithheld(sync, report);

  function logOf(device: string, incarnation: string, own: boolean): DeviceLogWalk {
    const name = originKey(device, incarnation);
    const known = logs.get(name);
    if (known !== undefined) return known;
    const find = (other: string): DeviceLogWalk | undefined => logs.get(originKey(device, other));
    const names = { device, incarnation };
    const foreign =
      own || sync === undefined || serverLog === undefined
        ? undefined
        : walkForeignLog({ ...deps, sync, serverLog }, report, names, find);
    const fresh = foreign ?? walkDeviceLog(deps, report, names, find);
    logs.set(name, fresh);
    return fresh;
  }

  function walkEvent(row: EventRow): void {
    const object = `event ${row.position}`;
    events += 1;
    if (row.position !== events) {
      report("position_gap", object, `expected position ${events}`);
      events = row.position;
    }
    const header = readHeader(row);
    if (typeof header === "string") report("header_malformed", object, header);
    const read = typeof header === "string" ? undefined : header;
    // U+0000 is the byte 0x00 of a leaf; in one piece the platform hashes it in one call.
    const leaf = crypto.sha256(utf8(`\u0000${row.header}`));
    if (base64url(leaf) !== row.leaf) {
      report("leaf_wrong", object, "the leaf is not the hash of the header");
    }
    for (const name of read === undefined ? [] : wrongColumns(deps.tenant, row, read)) {
      report("column_wrong", object, `${name} is not as the header says`);
    }
    const own = row.own === 1;
    const log = logOf(row.device, row.incarnation, own);
    if (read !== undefined) {
      log.link(row, read);
      streams.event(read, object, own || sync === undefined);
      if (isCurrentHeader(read)) withheld?.event(read, own);
    }
    log.append(row, leaf);
    if (read === undefined || !deps.openSections) return;
    for (const { section, fault } of checkSections(deps, row, read, leaf)) {
      if (fault === undefined) sections += 1;
      else if (fault !== "closed") report(fault, object, `section ${section}`);
    }
  }

  const total = source.count();
  for (let after = 0; ;) {
    const rows = source.events(after, pageRows);
    for (const row of rows) walkEvent(row);
    const last = rows.at(-1);
    if (last === undefined) break;
    after = last.position;
    deps.onProgress?.(events, total);
  }
  if (events < total) report("event_missing", `event ${events + 1}`, "rows cannot be read");
  // A log that lost all its events was never walked; its notes still speak of them.
  for (const { device, incarnation, own = 1 } of source.origins()) {
    logOf(device, incarnation, own === 1);
  }
  for (const log of logs.values()) log.finish();
  if (serverLog !== undefined) {
    for (const { device, incarnation, own = 1 } of source.origins()) {
      const log = logs.get(originKey(device, incarnation));
      if (own === 1) checkOwnReceipts(deps, report, { device, incarnation }, serverLog, log);
    }
  }
  withheld?.finish();
  streams.finish();
  const commits = [...logs.values()].reduce((sum, log) => sum + log.commits, 0);
  return { events, commits, sections, problems };
}

/** The header, or why it is none. */
function readHeader(row: EventRow): Header | NewerHeader | string {
  try {
    return parseHeader(row.header);
  } catch (error) {
    if (!isHoldfastError(error, "header_invalid")) throw error;
    const { path, reason } = error.details;
    return `${String(reason)} at "${String(path)}"`;
  }
}

function wrongColumns(
  tenant: string,
  row: EventRow,
  header: Header | NewerHeader,
): readonly string[] {
  const wrong: string[] = [];
  if (row.id !== header.id) wrong.push("id");
  if (row.device !== header.dev) wrong.push("device");
  if (row.incarnation !== header.inc) wrong.push("incarnation");
  if (row.sequence !== header.seq) wrong.push("sequence");
  if (row.stream !== header.stream) wrong.push("stream");
  if (tenant !== header.ten) wrong.push("tenant");
  if (!isCurrentHeader(header)) return wrong;
  if (row.type !== header.type) wrong.push("type");
  if (row.actor !== header.act) wrong.push("actor");
  if (row.recordedAt !== header.at) wrong.push("recorded_at");
  return wrong;
}

interface CheckedSection {
  readonly section: string;
  readonly fault: string | undefined;
}

/** Opens every section of an event and compares it with its commitment. */
function checkSections(
  deps: LogVerifyDeps,
  row: EventRow,
  header: Header | NewerHeader,
  leaf: Bytes,
): readonly CheckedSection[] {
  const frames = deps.source.frames(row.position);
  const named = Object.keys(header.sec);
  if (frames.length !== named.length || frames.some(({ section }) => !named.includes(section))) {
    return [{ section: named.join(", "), fault: "frame_missing" }];
  }
  return frames.map(({ section, key, state, bytes }) => {
    // Absent content is a problem unless a shred says that its key was destroyed.
    // The key goes before the frame does: ciphertext that nothing opens any more is about to be deleted.
    const isUnopened = state === "present" && isAwaited(deps, state, key, bytes);
    const isGone = state === "shredded" || isUnopened;
    if (isGone && deps.isShredded(header.scope, section)) return { section, fault: undefined };
    // The other device has not delivered it yet, or its key was not granted: nothing to compare.
    if (row.own === 0 && isAwaited(deps, state, key, bytes)) return { section, fault: "closed" };
    if (state !== "present") return { section: `${section} is ${state}`, fault: "frame_absent" };
    return { section, fault: sectionFault(deps, header, leaf, section, key, bytes) };
  });
}

function isAwaited(
  { dataKey }: LogVerifyDeps,
  state: string,
  key: string,
  frame: Uint8Array | null,
): boolean {
  if (state === "owed") return true;
  if (state !== "present" || frame === null || frame.length < 17 + 32 + 16) return false;
  const generation = new DataView(frame.buffer, frame.byteOffset).getUint32(1);
  return dataKey(key, generation) === undefined;
}

function sectionFault(
  { crypto, dataKey }: LogVerifyDeps,
  header: Header | NewerHeader,
  leaf: Bytes,
  section: string,
  keyId: string,
  frame: Uint8Array | null,
): string | undefined {
  if (frame === null || frame.length < 17 + 32 + 16 || frame[0] !== 1) return "frame_malformed";
  const generation = new DataView(frame.buffer, frame.byteOffset).getUint32(1);
  const key = dataKey(keyId, generation);
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

const sectionDomain = utf8("holdfast/section/v1\n");

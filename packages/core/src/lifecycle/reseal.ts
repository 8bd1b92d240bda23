/**
 * Survivors of a salvage: events that stood behind a gap that nobody could fill. They are recorded anew in the
 * incarnation that goes on, under their ids, with actor, time and reason as they were, so that the interrupted work may
 * be repeated: what is recorded already is recognised by its id.
 */
import type { Keyring } from "../keys/keyring.ts";
import type { Header } from "../event/event.ts";
import type { Registry } from "../event/registry.ts";
import { incarnationOpenedType } from "../event/system.ts";
import { fromSections } from "../seal/content.ts";
import { frameGeneration, openFrame } from "../seal/frame.ts";
import { type Bytes, fromBase64url } from "../std/bytes.ts";
import { isHoldfastError } from "../std/errors.ts";
import type { Crypto } from "../std/ports.ts";
import type { PreparedDraft } from "../store/append.ts";
import type { SqliteDriver } from "../store/sqlite-driver.ts";
import type { Writer } from "../store/writer.ts";
import { type GatheredEvent, readHeader } from "./gather.ts";
import type { SalvagedLog } from "./judge-salvage.ts";

/** Leaves in a gathering what is recorded anew: own events behind the bases that the server does not hold. */
export function keepSurvivors(driver: SqliteDriver, logs: readonly SalvagedLog[]): void {
  const drop = driver.prepare("DELETE FROM events WHERE log = ? AND sequence <= ?");
  for (const { number, base, receipted } of logs) drop.run(number, Math.max(base, receipted));
  driver.exec(`
    DELETE FROM events WHERE log NOT IN (SELECT number FROM logs WHERE own = 1);
    DELETE FROM frames WHERE leaf NOT IN (SELECT leaf FROM events);
    DELETE FROM notes;`);
}

/**
 * Sections of survivors whose content or key was not found, and was not shredded: these events are not recorded anew.
 */
export function lostOfSurvivors(
  driver: SqliteDriver,
  { shreds, dataKey }: Pick<Keyring, "dataKey"> & { readonly shreds: Shreds },
): readonly { readonly id: string; readonly section: string }[] {
  const found = driver.prepare(
    "SELECT section, key, bytes FROM frames WHERE leaf = ? AND state = 'present'",
  );
  const lost: { id: string; section: string }[] = [];
  const rows = pagesOf(driver);
  for (let page = rows.next(); page.length > 0; page = rows.next()) {
    for (const row of page) {
      const { id, scope, sec = {} } = readHeader(row.header) ?? { id: "", scope: "" };
      const here = found.all<FoundFrame>(row.leaf);
      const opens = ({ key, bytes }: FoundFrame): boolean =>
        dataKey(key, frameGeneration(bytes) ?? -1) !== undefined;
      for (const section of Object.keys(sec)) {
        const isHere = here.some((frame) => frame.section === section && opens(frame));
        if (!isHere && !shreds.isShredded(scope, section)) lost.push({ id, section });
      }
    }
  }
  return lost;
}

type Shreds = Pick<Keyring["shreds"], "isShredded">;

interface FoundFrame {
  readonly section: string;
  readonly key: string;
  readonly bytes: Uint8Array;
}

type SurvivorRow = GatheredEvent & { readonly log: number; readonly sequence: number };

/** Survivors in their order, a few at a time. */
function pagesOf(survivors: SqliteDriver): { next(): readonly SurvivorRow[] } {
  const page = survivors.prepare(
    `SELECT leaf, position, log, sequence, header FROM events
     WHERE (position, log, sequence) > (?, ?, ?) ORDER BY position, log, sequence LIMIT 64`,
  );
  let after: readonly [number, number, number] = [-1, 0, 0];
  return {
    next() {
      const rows = page.all<SurvivorRow>(...after);
      const last = rows.at(-1);
      if (last !== undefined) after = [last.position, last.log, last.sequence];
      return rows;
    },
  };
}

/** Ports of recording anew. */
export interface ResealDeps {
  readonly crypto: Crypto;
  readonly keyring: Pick<Keyring, "dataKey">;
  readonly registry: Registry;
  readonly writer: Pick<Writer, "append">;
}

/** Records the survivors of that gathering; how many, and how many have content that does not open. */
export async function resealSurvivors(
  deps: ResealDeps,
  survivors: SqliteDriver,
): Promise<{ readonly recorded: number; readonly closed: number }> {
  const pages = pagesOf(survivors);
  const leaves = new Map<string, string>();
  let recorded = 0;
  let closed = 0;
  for (let rows = pages.next(); rows.length > 0; rows = pages.next()) {
    for (const row of rows) {
      const header = readHeader(row.header);
      // A log that was opened stays the log that it was.
      if (header === undefined || header.type === incarnationOpenedType) continue;
      const draft = draftOf(deps, survivors, row, header, leaves);
      if (draft === undefined) {
        closed += 1;
        continue;
      }
      const result = await deps.writer.append({ drafts: [draft], expect: undefined });
      const [event] = result.status === "appended" ? result.events : [];
      if (event !== undefined) leaves.set(row.leaf, event.leaf);
      recorded += 1;
    }
  }
  return { recorded, closed };
}

function draftOf(
  deps: ResealDeps,
  survivors: SqliteDriver,
  { leaf }: GatheredEvent,
  header: Header,
  leaves: ReadonlyMap<string, string>,
): PreparedDraft | undefined {
  const opened = openAll(deps, survivors, leaf, header);
  if (opened === undefined) return undefined;
  const encoding = deps.registry.types.get(header.type)?.encoding ?? "text";
  const sections = [...opened].map(([name, plaintext]) => ({ name, plaintext }));
  const { pub } = header;
  return {
    id: header.id,
    type: header.type,
    typeVersion: header.tv,
    concurrency: header.vv === undefined ? "independent" : "exclusive",
    stream: header.stream,
    scope: header.scope,
    exact: true,
    site: "",
    op: header.op,
    ref: header.ref?.map((name) => leaves.get(name) ?? name),
    at: header.at,
    actor: header.act,
    role: header.role,
    session: header.sess,
    why: header.why,
    lane: "normal",
    sections,
    ...(pub === undefined ? {} : { pub }),
    bytes: sections.reduce((sum, { plaintext }) => sum + plaintext.length, 0),
    content: contentOf(encoding, opened),
  };
}

const nothing = { data: undefined, text: undefined, occurredAt: undefined, reason: undefined };

/** What read models are told; what is no payload of a known type they read anew later. */
function contentOf(encoding: "json" | "text", opened: ReadonlyMap<string, Uint8Array>) {
  try {
    return opened.size === 0 ? nothing : fromSections(encoding, opened);
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
    return nothing;
  }
}

/** Every section in the open; `undefined` when one does not open. */
function openAll(
  { crypto, keyring }: ResealDeps,
  survivors: SqliteDriver,
  leaf: string,
  header: Header,
): ReadonlyMap<string, Bytes> | undefined {
  const frames = survivors
    .prepare("SELECT section, key, bytes FROM frames WHERE leaf = ? AND state = 'present'")
    .all<{ section: string; key: string; bytes: Uint8Array }>(leaf);
  const opened = new Map<string, Bytes>();
  for (const [section, { c }] of Object.entries(header.sec ?? {})) {
    const frame = frames.find((one) => one.section === section);
    const key = frame && keyring.dataKey(frame.key, frameGeneration(frame.bytes) ?? -1);
    const commitment = fromBase64url(c);
    const name = fromBase64url(leaf);
    if (
      frame === undefined ||
      key === undefined ||
      commitment === undefined ||
      name === undefined
    ) {
      return undefined;
    }
    const content = openFrame(crypto, key, section, name, frame.bytes, commitment);
    if (content === undefined) return undefined;
    opened.set(section, Uint8Array.from(content.plaintext));
  }
  return opened;
}

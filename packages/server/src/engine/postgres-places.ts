/**
 * Where events of a scope and of a stream lie in PostgreSQL: a row for each scope of what was placed at once, because
 * an entry for each event in an index costs as much as the event (measured: docs/decisions/0013). A row has for each
 * event, in order,
 *
 *     u32 how far before `last` ‖ u32 FNV-1a of the stream
 *
 * so that a stream is found in the scopes that `streams` names for it. Two streams of one hash are told apart by their
 * events.
 */
import { bytesArray, integerArray, textArray } from "./postgres-arrays.ts";
import type { PostgresTransaction } from "./postgres-transaction.ts";

/** What of an event says where it is looked for. */
export interface PlacedNames {
  readonly log: number;
  readonly scope: string;
  readonly stream: string;
}

const placeBytes = 8;

/** FNV-1a of UTF-16 code units, 32 bits. */
function hashOf(stream: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < stream.length; at++) {
    hash = Math.imul(hash ^ stream.charCodeAt(at), 0x01000193);
  }
  return hash >>> 0;
}

/** Events of one scope and log, by their index among what is placed. */
interface Part extends Omit<PlacedNames, "stream"> {
  readonly indices: number[];
  readonly streams: Set<string>;
}

function partsOf(events: readonly PlacedNames[]): readonly Part[] {
  const logs = new Map<number, Map<string, Part>>();
  for (const [at, { log, scope, stream }] of events.entries()) {
    let scopes = logs.get(log);
    if (scopes === undefined) logs.set(log, (scopes = new Map<string, Part>()));
    let part = scopes.get(scope);
    if (part === undefined) {
      part = { log, scope, indices: [], streams: new Set() };
      scopes.set(scope, part);
    }
    part.indices.push(at);
    part.streams.add(stream);
  }
  return [...logs.values()].flatMap((scopes) => [...scopes.values()]);
}

/** Sends where these events lie, which have the positions from `first` on. */
export function sendPlaces(
  tx: PostgresTransaction,
  tenant: string,
  first: number,
  events: readonly PlacedNames[],
): void {
  const parts = partsOf(events);
  const lasts = parts.map(({ indices }) => indices.at(-1) ?? 0);
  tx.send(
    parts.length,
    `INSERT INTO holdfast.event_scopes (tenant, scope, last, log, places)
     SELECT $1, part.scope, part.last, part.log, part.places
     FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bytea[])
       AS part (scope, last, log, places)`,
    tenant,
    textArray(parts.map(({ scope }) => scope)),
    integerArray(lasts.map((last) => first + last)),
    integerArray(parts.map(({ log }) => log)),
    bytesArray(encode(parts, events)),
  );
  const extended = parts.flatMap(({ log, scope, streams }) =>
    Array.from(streams, (stream) => ({ log, scope, stream })),
  );
  tx.send(
    undefined,
    `INSERT INTO holdfast.streams (tenant, stream, log, scope)
     SELECT $1, extended.stream, extended.log, extended.scope
     FROM unnest($2::text[], $3::bigint[], $4::text[]) AS extended (stream, log, scope)
     ON CONFLICT (tenant, stream, log, scope) DO NOTHING`,
    tenant,
    textArray(extended.map(({ stream }) => stream)),
    integerArray(extended.map(({ log }) => log)),
    textArray(extended.map(({ scope }) => scope)),
  );
}

/** One piece of memory for all. */
function encode(parts: readonly Part[], events: readonly PlacedNames[]): readonly Uint8Array[] {
  const view = new DataView(new ArrayBuffer(placeBytes * events.length));
  let at = 0;
  return parts.map(({ indices }) => {
    const from = at;
    const last = indices.at(-1) ?? 0;
    for (const index of indices) {
      view.setUint32(at, last - index);
      view.setUint32(at + 4, hashOf(events[index]?.stream ?? ""));
      at += placeBytes;
    }
    return new Uint8Array(view.buffer, from, at - from);
  });
}

interface PartRow {
  readonly scope: string;
  readonly last: number;
  readonly places: Uint8Array;
}

function decode({ last, places }: PartRow, each: (position: number, hash: number) => void): void {
  const view = new DataView(places.buffer, places.byteOffset, places.length);
  for (let at = 0; at < places.length; at += placeBytes) {
    each(last - view.getUint32(at), view.getUint32(at + 4));
  }
}

/** Rows of each scope beyond a position, as many as hold so many events. */
const partsAfter = `SELECT wanted.scope, part.last, part.places
  FROM unnest($2::text[]) AS wanted (scope)
  CROSS JOIN LATERAL (
    SELECT summed.last, summed.places FROM (
      SELECT own.last, own.places, sum(octet_length(own.places)) OVER (
        ORDER BY own.last ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
      FROM (
        SELECT one.last, one.places FROM holdfast.event_scopes AS one
        WHERE one.tenant = $1 AND one.scope = wanted.scope AND one.last > $3
          AND one.log NOT IN (
            SELECT left_out.number FROM holdfast.logs AS left_out
            WHERE left_out.tenant = $1 AND left_out.device = $5)
        ORDER BY one.last LIMIT $4) AS own
    ) AS summed
    WHERE summed.before IS NULL OR summed.before < $6) AS part`;

/** The first positions of these scopes after a position, ascending, at most `limit`, without those of a device. */
export async function positionsOfScopes(
  tx: PostgresTransaction,
  tenant: string,
  scopes: readonly string[],
  after: number,
  limit: number,
  except: string,
): Promise<readonly number[]> {
  const wanted = textArray([...new Set(scopes)]);
  const most = placeBytes * limit;
  const found: number[] = [];
  for (let from = after; ;) {
    const values = [tenant, wanted, from, limit, except, most] as const;
    const rows = await tx.rows<PartRow>(partsAfter, ...values);
    const to = Math.min(...cutScopes(rows, limit, most).map(({ last }) => last));
    for (const row of rows) {
      decode(row, (position) => {
        if (position > from && position <= to) found.push(position);
      });
    }
    if (found.length >= limit || to === Infinity) {
      return found.toSorted((a, b) => a - b).slice(0, limit);
    }
    from = to;
  }
}

/** The last rows of the scopes of which there may be more. */
function cutScopes(rows: readonly PartRow[], rowsMost: number, bytesMost: number): PartRow[] {
  return [...Map.groupBy(rows, ({ scope }) => scope).values()].flatMap((own) => {
    const bytes = own.reduce((sum, { places }) => sum + places.length, 0);
    return own.length >= rowsMost || bytes >= bytesMost ? own.slice(-1) : [];
  });
}

/** Rows of each scope before a position that are read at once. */
const partsEach = 64;
const partsBefore = `SELECT wanted.scope, part.last, part.places
  FROM unnest($2::text[]) AS wanted (scope)
  CROSS JOIN LATERAL (
    SELECT one.last, one.places FROM holdfast.event_scopes AS one
    WHERE one.tenant = $1 AND one.scope = wanted.scope AND one.last < $3
    ORDER BY one.last DESC LIMIT $4) AS part`;

/** Positions of events that may be of a stream, some at once, the newest first. */
export async function* positionsOfStream(
  tx: PostgresTransaction,
  tenant: string,
  stream: string,
): AsyncGenerator<readonly number[]> {
  const scopes = await tx.rows<{ scope: string }>(
    "SELECT scope FROM holdfast.streams WHERE tenant = $1 AND stream = $2 GROUP BY scope",
    tenant,
    stream,
  );
  const wanted = textArray(scopes.map(({ scope }) => scope));
  const hash = hashOf(stream);
  let waiting: number[] = [];
  for (let before = Number.MAX_SAFE_INTEGER; ;) {
    const rows = await tx.rows<PartRow>(partsBefore, tenant, wanted, before, partsEach);
    // What was not read yet lies below; of the other scopes it comes again.
    const from = Math.max(...cutScopes(rows, partsEach, Infinity).map(({ last }) => last));
    for (const row of rows.filter(({ last }) => last >= from)) {
      decode(row, (position, found) => {
        if (found === hash) waiting.push(position);
      });
    }
    const known = waiting.filter((position) => position >= from);
    waiting = waiting.filter((position) => position < from);
    yield known.toSorted((a, b) => b - a);
    if (from === -Infinity) return;
    before = from;
  }
}

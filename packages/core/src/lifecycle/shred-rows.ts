/** What a shred takes out of the tables of a store, in transactions of the caller's. */
import type { SqliteDriver } from "../store/sqlite-driver.ts";
import { everySection, type ShredName } from "../store/shreds.ts";
import { assertOrdered, type ShredOrder } from "./shred-account.ts";
import { localValues } from "../sync/local-values.ts";

type Meant = Pick<ShredName, "scope" | "section">;

const isOfScope = "header ->> '$.scope' = ?";

/** Deletes the content of events at those positions, both included; how many frames it was. Throws `interlock_unproven`. */
export function deleteFrames(
  driver: SqliteDriver,
  order: ShredOrder,
  from: number,
  to: number,
): number {
  assertOrdered(order);
  const { scope, section } = order;
  const values = section === everySection ? [] : [section];
  return driver
    .prepare(
      `UPDATE frames SET state = 'shredded', bytes = NULL
       WHERE position BETWEEN ? AND ? AND state <> 'shredded'
         ${section === everySection ? "" : "AND section = ?"}
         AND position IN (
           SELECT position FROM events WHERE position BETWEEN ? AND ? AND ${isOfScope})`,
    )
    .run(from, to, ...values, from, to, scope);
}

/** Streams with events of the scope. */
export function streamsOf(driver: SqliteDriver, scope: string): readonly string[] {
  return driver
    .prepare(`SELECT DISTINCT stream FROM events WHERE ${isOfScope} ORDER BY stream`)
    .all<{ stream: string }>(scope)
    .map(({ stream }) => stream);
}

/** Forgets what was noted about sections that nobody will open: keys awaited, frames that did not open. */
export function forgetNotes(driver: SqliteDriver, { scope, section }: Meant): void {
  const rows = driver
    .prepare(
      `SELECT leaf, stream, frames.section AS section, key FROM frames
       JOIN events ON events.position = frames.position WHERE state = 'shredded' AND ${isOfScope}`,
    )
    .all<{ leaf: string; stream: string; section: string; key: string }>(scope)
    .filter((row) => section === everySection || row.section === section);
  const values = localValues(driver);
  const streams = new Set(rows.map(({ key, stream }) => `${key}/${stream}`));
  for (const { name } of values.list("closed/")) {
    const [, key = "", , stream = ""] = name.split("/");
    if (streams.has(`${key}/${stream}`)) values.remove(name);
  }
  for (const row of rows) values.remove(`unopened/${row.leaf}/${row.section}`);
  forgetAside(driver, { scope, section });
}

const asidePrefix = "own_aside/";

/** Own events that were laid aside until their log is whole keep their headers alone. */
function forgetAside(driver: SqliteDriver, { scope, section }: Meant): void {
  const values = localValues(driver);
  for (const { name, value } of values.list(asidePrefix)) {
    const [headerText, frames] = JSON.parse(value) as readonly [
      string,
      readonly { readonly section: string; readonly state: string; readonly bytes?: string }[],
    ];
    if ((JSON.parse(headerText) as { readonly scope: string }).scope !== scope) continue;
    const kept = frames.map(({ bytes, ...frame }) =>
      section === everySection || frame.section === section
        ? { ...frame, state: "shredded" }
        : { ...frame, ...(bytes !== undefined && { bytes }) },
    );
    values.set(name, JSON.stringify([headerText, kept]));
  }
}

/** A grant as it waits here: its context is in the clear. */
interface GrantContext {
  readonly scope?: unknown;
  readonly section?: unknown;
}

/** Grants of the scope that wait here, by their names in the table `sync`: those that came, and those to be sent. */
export function waitingGrants(
  driver: SqliteDriver,
  { scope, section }: Meant,
): { readonly came: readonly string[]; readonly outgoing: readonly string[] } {
  const values = localValues(driver);
  const isOfIt = (grant: string): boolean => {
    const context = JSON.parse(grant) as GrantContext;
    return context.scope === scope && (section === everySection || context.section === section);
  };
  const came = values.list("grants/pending/").filter(({ value }) => isOfIt(value));
  const outgoing = values
    .list("grants/outgoing/")
    .filter(({ value }) => isOfIt((JSON.parse(value) as { readonly grant: string }).grant));
  return { came: came.map(({ name }) => name), outgoing: outgoing.map(({ name }) => name) };
}

/** Grants of those keys count no more. */
export function withdrawGrants(driver: SqliteDriver, keys: readonly string[], at: number): void {
  const withdraw = driver.prepare(
    "UPDATE grants SET state = 'withdrawn', at = ? WHERE key = ? AND state <> 'withdrawn'",
  );
  for (const key of keys) withdraw.run(at, key);
}

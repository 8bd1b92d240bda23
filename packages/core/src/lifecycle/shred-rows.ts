/** What a shred takes out of the tables of a store, in transactions of the caller's. */
import type { SqliteDriver } from "../store/sqlite-driver.ts";
import { everySection, shreddedBy, type ShredName } from "../store/shreds.ts";
import { assertOrdered, type ShredOrder } from "./shred-account.ts";
import { localValues } from "../sync/local-values.ts";

type Meant = Pick<ShredName, "scope" | "section">;

const scopeOf = "header ->> '$.scope'";
const isOfScopes = `${scopeOf} IN (SELECT value FROM json_each(?))`;

const scopesOf = (meant: readonly Meant[]): string =>
  JSON.stringify([...new Set(meant.map(({ scope }) => scope))]);

/** Deletes the content of events at those positions, both included, in one look at them. Throws `interlock_unproven`. */
export function deleteFrames(
  driver: SqliteDriver,
  orders: readonly ShredOrder[],
  from: number,
  to: number,
): void {
  for (const order of orders) assertOrdered(order);
  const byScope = Map.groupBy(orders, ({ scope }) => scope);
  const remove = driver.prepare(
    `UPDATE frames SET state = 'shredded', bytes = NULL
     WHERE position = ? AND state <> 'shredded' AND ? IN ('${everySection}', section)`,
  );
  const events = driver
    .prepare(
      `SELECT position, ${scopeOf} AS scope FROM events
       WHERE position BETWEEN ? AND ? AND ${isOfScopes}`,
    )
    .all<{ position: number; scope: string }>(from, to, scopesOf(orders));
  for (const { position, scope } of events) {
    for (const { section } of byScope.get(scope) ?? []) remove.run(position, section);
  }
}

/** Streams with events of those scopes. */
export function streamsOf(driver: SqliteDriver, meant: readonly Meant[]): readonly string[] {
  return driver
    .prepare(`SELECT DISTINCT stream FROM events WHERE ${isOfScopes} ORDER BY stream`)
    .all<{ stream: string }>(scopesOf(meant))
    .map(({ stream }) => stream);
}

/** Forgets what was noted about sections that nobody will open: keys awaited, frames that did not open. */
export function forgetNotes(driver: SqliteDriver, meant: readonly Meant[]): void {
  const isMeant = shreddedBy(meant);
  const rows = driver
    .prepare(
      `SELECT leaf, stream, ${scopeOf} AS scope, frames.section AS section, key FROM frames
       JOIN events ON events.position = frames.position WHERE state = 'shredded' AND ${isOfScopes}`,
    )
    .all<{ leaf: string; stream: string; scope: string; section: string; key: string }>(
      scopesOf(meant),
    )
    .filter(isMeant);
  const values = localValues(driver);
  const streams = new Set(rows.map(({ key, stream }) => `${key}/${stream}`));
  for (const { name } of values.list("closed/")) {
    const [, key = "", , stream = ""] = name.split("/");
    if (streams.has(`${key}/${stream}`)) values.remove(name);
  }
  for (const row of rows) values.remove(`unopened/${row.leaf}/${row.section}`);
  forgetAside(driver, isMeant);
}

const asidePrefix = "own_aside/";

/** Own events that were laid aside until their log is whole keep their headers alone. */
function forgetAside(driver: SqliteDriver, isMeant: (content: Meant) => boolean): void {
  const values = localValues(driver);
  for (const { name, value } of values.list(asidePrefix)) {
    const [headerText, frames] = JSON.parse(value) as readonly [
      string,
      readonly { readonly section: string; readonly state: string; readonly bytes?: string }[],
    ];
    const { scope } = JSON.parse(headerText) as { readonly scope: string };
    const isGone = ({ section }: { readonly section: string }): boolean =>
      isMeant({ scope, section });
    if (!frames.some(isGone)) continue;
    const kept = frames.map((frame) =>
      isGone(frame) ? { ...frame, state: "shredded", bytes: undefined } : frame,
    );
    values.set(name, JSON.stringify([headerText, kept]));
  }
}

/** A grant as it waits here: its context is in the clear. */
interface GrantContext {
  readonly scope?: unknown;
  readonly section?: unknown;
}

/** Grants of what is meant that wait here, by their names in the table `sync`: those that came, and those to be sent. */
export function waitingGrants(
  driver: SqliteDriver,
  meant: Meant,
): { readonly came: readonly string[]; readonly outgoing: readonly string[] } {
  const values = localValues(driver);
  const isMeant = shreddedBy([meant]);
  const isOfIt = (grant: string): boolean => {
    const { scope, section } = JSON.parse(grant) as GrantContext;
    return isMeant({ scope: String(scope), section: String(section) });
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

/**
 * The table `shreds`: which sections of which scopes are shredded, and how far this device has come with it. The fold
 * of access events fills it (`sync/access-table.ts`), the effect moves it on (`lifecycle/shred.ts`), and the writer
 * asks it before it seals. Rows never go back and never away: a shred that was in force once stays so here, whatever
 * order later events give the log.
 */
import type { SqliteDriver } from "./sqlite-driver.ts";

/** How far a shred has come on this device. */
export const shredStates = [
  "in-force",
  "keys-destroyed",
  "frames-deleted",
  "cleaned",
  "acknowledged",
] as const;
/** One of them. */
export type ShredState = (typeof shredStates)[number];

/** Section of a row that is about every section. */
export const everySection = "";

/** What is shredded. */
export interface ShredName {
  readonly scope: string;
  /** Section class; empty: all. */
  readonly section: string;
  readonly shred: string;
  /** Of the event that put it in force. */
  readonly leaf: string;
}

/** Names the content that a shred is about. */
export function contentKey({ scope, section }: Pick<ShredName, "scope" | "section">): string {
  return `${scope} ${section}`;
}

/** Is that content, of a section that has a name, what one of these speaks of? Whole scopes speak of each section. */
export function shreddedBy(
  these: readonly Pick<ShredName, "scope" | "section">[],
): (content: Pick<ShredName, "scope" | "section">) => boolean {
  const keys = new Set(these.map(contentKey));
  return ({ scope, section }) =>
    [everySection, section].some((one) => keys.has(contentKey({ scope, section: one })));
}

/** Names a row of the table. */
export function shredKey({ scope, section, shred }: ShredName): string {
  return [scope, section, shred].join(" ");
}

/** One row: a shred in one of its scopes. */
export interface ShredRow extends ShredName {
  readonly state: ShredState;
}

/** The table over one connection. */
export interface ShredTable {
  /** Is anything shredded here at all? */
  any(): boolean;
  isShredded(scope: string, section: string): boolean;
  /** Is every section of the scope shredded? */
  isWhollyShredded(scope: string): boolean;
  rows(): readonly ShredRow[];
  /** Rows that this device has not seen through. */
  open(): readonly ShredRow[];
  /** Adds what is not there, in the caller's transaction; was it new? */
  put(name: ShredName): boolean;
  /** In the caller's transaction. */
  advance(name: ShredName, state: ShredState): void;
}

/** Statements are compiled when they are used: an older format, looked at before it is lifted, has no such table. */
export function createShredTable(driver: SqliteDriver): ShredTable {
  const columns = "scope, section, shred, leaf, state";
  const some = (sql: string, ...values: readonly string[]): boolean =>
    driver.prepare(sql).get(...values) !== undefined;
  const any = (): boolean => some("SELECT 1 FROM shreds LIMIT 1");
  return {
    any,
    isShredded: (scope, section) =>
      // Most stores have none: that is asked more cheaply.
      any() &&
      some(
        "SELECT 1 FROM shreds WHERE scope = ? AND section IN (?, ?) LIMIT 1",
        scope,
        everySection,
        section,
      ),
    isWhollyShredded: (scope) =>
      some("SELECT 1 FROM shreds WHERE scope = ? AND section = ? LIMIT 1", scope, everySection),
    rows: () =>
      driver
        .prepare(`SELECT ${columns} FROM shreds ORDER BY scope, section, shred`)
        .all<ShredRow>(),
    open: () =>
      driver
        .prepare(
          `SELECT ${columns} FROM shreds WHERE state <> 'acknowledged' ORDER BY scope, section, shred`,
        )
        .all<ShredRow>(),
    put: ({ scope, section, shred, leaf }) =>
      driver
        .prepare(
          `INSERT INTO shreds (${columns}) VALUES (?, ?, ?, ?, 'in-force')
           ON CONFLICT (scope, section, shred) DO NOTHING`,
        )
        .run(scope, section, shred, leaf) > 0,
    advance({ scope, section, shred }, state) {
      driver
        .prepare("UPDATE shreds SET state = ? WHERE scope = ? AND section = ? AND shred = ?")
        .run(state, scope, section, shred);
    },
  };
}

/**
 * The scope of a subject at a site: of the scopes that its words make, the first that is not shredded as a whole. So
 * a subject who returns gets a new one.
 */
export function presentScope(
  keyring: { scopeOf(subject: string, site: string, n?: number): string },
  shreds: Pick<ShredTable, "isWhollyShredded">,
  subject: string,
  site: string,
): string {
  for (let n = 0; ; n++) {
    const scope = keyring.scopeOf(subject, site, n);
    if (!shreds.isWhollyShredded(scope)) return scope;
  }
}

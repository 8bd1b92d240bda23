/**
 * The table `access`: the fold of access events, kept in the transaction that appends them, own and pulled.
 * It can be made anew from the log at any time, and `verify` compares the two. What the fold says is shredded is put
 * into the table `shreds` in the same transaction; that one only ever grows (`store/shreds.ts`).
 */
import type { Header } from "../event/event.ts";
import { everyScope } from "../event/system.ts";
import type { Keyring } from "../keys/keyring.ts";
import { createShredTable, everySection, shredKey, type ShredName } from "../store/shreds.ts";
import type { AppendParticipant } from "../store/sqlite-event-log.ts";
import type { SqliteDriver } from "../store/sqlite-driver.ts";
import {
  accessTypes,
  type AccessState,
  mayReadScope,
  foldAccess,
  isAccessType,
} from "./access-fold.ts";

/** One row: a device may read a scope. */
export interface AccessRow {
  readonly device: string;
  readonly scope: string;
  readonly role: string;
  /** base64 */
  readonly hpke: string;
  /** Of the event that granted it. */
  readonly leaf: string;
}

export interface AccessTable extends AppendParticipant {
  /** Device that founded the tenant: pinned when the store was made. `undefined`: the log is still empty. */
  founder(): string | undefined;
  /** The fold over the whole log. */
  fold(): AccessState;
  rows(): readonly AccessRow[];
  /** Rows that are not as the log says, by device and scope. */
  check(): readonly string[];
  /** Shreds that the log says are in force and the table does not know. */
  checkShreds(): readonly string[];
  /** Makes the table anew, and adds shreds; in the caller's transaction. */
  rebuild(): void;
}

function founderOf(driver: SqliteDriver): string | undefined {
  const pinned = driver.prepare("SELECT value FROM store WHERE name = 'founder'");
  const first = driver.prepare(
    "SELECT device AS value FROM incarnations WHERE own = 1 ORDER BY number LIMIT 1",
  );
  return (pinned.get<{ value: string }>() ?? first.get<{ value: string }>())?.value;
}

/** The fold over the whole log, from its events. */
export function readAccess(driver: SqliteDriver): AccessState {
  const events = driver
    .prepare(
      `SELECT leaf, header FROM events WHERE type IN (${accessTypes.map(() => "?").join(", ")})`,
    )
    .all<{ leaf: string; header: string }>(...accessTypes)
    .map(({ leaf, header }) => ({ leaf, header: JSON.parse(header) as Header }));
  return foldAccess(events, founderOf(driver) ?? "");
}

/** The access table over one connection. */
export function createAccessTable(deps: {
  readonly driver: SqliteDriver;
  readonly keyring: Pick<Keyring, "renewDataKeys">;
}): AccessTable {
  const { driver } = deps;
  const insert = driver.prepare(
    "INSERT INTO access (device, scope, role, hpke, leaf) VALUES (?, ?, ?, ?, ?)",
  );
  const all = driver.prepare(
    "SELECT device, scope, role, hpke, leaf FROM access ORDER BY device, scope",
  );

  const shreds = createShredTable(driver);
  const founder = (): string | undefined => founderOf(driver);
  const rows = (): readonly AccessRow[] => all.all<AccessRow>();

  const fold = (): AccessState => readAccess(driver);

  /** An access event changes little: what stays is left alone. */
  function rebuild(): void {
    const state = fold();
    const fresh = new Map(rowsOf(state).map((row) => [textOf(row), row]));
    const remove = driver.prepare("DELETE FROM access WHERE device = ? AND scope = ?");
    for (const row of rows()) if (!fresh.delete(textOf(row))) remove.run(row.device, row.scope);
    for (const { device, scope, role, hpke, leaf } of fresh.values()) {
      insert.run(device, scope, role, hpke, leaf);
    }
    const held = new Set(shreds.rows().map(shredKey));
    for (const name of shredsOf(state)) if (!held.has(shredKey(name))) shreds.put(name);
  }

  return {
    name: "access",
    founder,
    fold,
    rows,
    rebuild,
    apply(appended) {
      if (!appended.some(({ sealed }) => isAccessType(sealed.header.type))) return;
      const before = rows();
      rebuild();
      const withdrawn = without(before, rows());
      if (withdrawn.size === 0) return;
      // Before COMMIT: no event may be sealed behind the revocation with a key that the device holds. A key
      // too many, where the transaction fails, harms nobody.
      deps.keyring.renewDataKeys((scope) => mayReadScope(withdrawn, scope));
    },
    check() {
      const wanted = new Set(rowsOf(fold()).map(textOf));
      const found = new Set(rows().map(textOf));
      const odd = [...wanted, ...found].filter((text) => !wanted.has(text) || !found.has(text));
      return [...new Set(odd.map((text) => text.split(" ").slice(0, 2).join(" ")))].toSorted();
    },
    checkShreds() {
      const found = new Set(shreds.rows().map(shredKey));
      return shredsOf(fold())
        .map(shredKey)
        .filter((name) => !found.has(name));
    },
  };
}

/** What the log says is shredded: each scope of every shred that is in force. */
export function shredsOf({ shreds }: Pick<AccessState, "shreds">): readonly ShredName[] {
  return [...shreds].flatMap(([shred, { scopes, section = everySection, inForce }]) =>
    inForce === undefined
      ? []
      : [...new Set(scopes)].map((scope) => ({ scope, section, shred, leaf: inForce })),
  );
}

function rowsOf({ devices }: AccessState): readonly AccessRow[] {
  return [...devices].flatMap(([device, { role, hpke, scopes }]) =>
    [...scopes].map(([scope, leaf]) => ({ device, scope, role, hpke, leaf })),
  );
}

function textOf({ device, scope, role, hpke, leaf }: AccessRow): string {
  return [device, scope, role, hpke, leaf].join(" ");
}

/** Scopes that some device might read before and may not any more. */
function without(before: readonly AccessRow[], after: readonly AccessRow[]): ReadonlySet<string> {
  const now = new Map<string, Set<string>>();
  for (const { device, scope } of after) {
    const scopes = now.get(device) ?? new Set<string>();
    now.set(device, scopes.add(scope));
  }
  const withdrawn = before.filter(({ device, scope }) =>
    scope === everyScope ? !now.get(device)?.has(scope) : !mayReadScope(now.get(device), scope),
  );
  return new Set(withdrawn.map(({ scope }) => scope));
}

/** Is a store damaged? Everything is read, on a copy, and nothing is changed. */
import type { Keyring } from "../keys/keyring.ts";
import { createOutboxWhole } from "../outbox/whole.ts";
import { HoldfastError, isHoldfastError } from "../std/errors.ts";
import type { Crypto } from "../std/ports.ts";
import { configure } from "../store/pragmas.ts";
import { wasRestored } from "../store/restored.ts";
import { checkFormat, isOlderFormat, schemaDrift } from "../store/schema.ts";
import { checkStoreId, readOwnLog, type StoreMedium } from "../store/session.ts";
import { createSqliteEventLog } from "../store/sqlite-event-log.ts";
import type { SqliteDriver } from "../store/sqlite-driver.ts";
import { checkLog } from "./check-log.ts";

/** One thing that is not as it must be. */
export interface Damage {
  readonly code: string;
  readonly object: string;
}

/** Ports of looking: the keyring of the store, and a connection to a copy of its database. */
export interface DamageDeps {
  readonly crypto: Crypto;
  readonly keyring: Keyring;
  /** For the marks and the place of the store itself; `driver` is that of a copy. */
  readonly medium: StoreMedium;
  readonly driver: SqliteDriver;
}

const listedMax = 20;

/**
 * Damage of a copy of a store, the first few of each kind. Throws `store_foreign`, `store_newer`, `store_older`: that is
 * no damage, and not for salvage to change.
 */
export function lookForDamage(deps: DamageDeps): readonly Damage[] {
  const { driver, keyring } = deps;
  const found: Damage[] = [];
  const looking = (object: string, look: () => readonly Damage[]): void => {
    try {
      found.push(...look());
    } catch (error) {
      if (!isHoldfastError(error) || !isDamage(error.code)) throw error;
      found.push({ code: error.code, object });
    }
  };
  looking("database", () => {
    configure(driver);
    checkFormat(driver);
    return [];
  });
  if (found.length > 0) return found;
  if (isOlderFormat(driver)) {
    looking("database", () => unsoundPages(driver));
    // The lift says what else is wrong with it.
    if (found.length === 0) throw new HoldfastError("store_older");
    return found;
  }
  looking("table store", () => {
    checkStoreId(driver, keyring);
    return [];
  });
  looking("schema", () => schemaDrift(driver).map((object) => ({ code: "store_drifted", object })));
  looking("database", () => unsoundPages(driver));
  looking("log", () => unverified(deps));
  looking("outbox", () =>
    createOutboxWhole(driver)
      .check(1)
      .map(({ kind, position }) => ({ code: `outbox_entry_${kind}`, object: `event ${position}` })),
  );
  looking("mark", () => behindMark(deps));
  return found;
}

/** What the medium or somebody's hands did to it; a store of another keyring or a newer one is none. */
function isDamage(code: string): boolean {
  return !["store_foreign", "store_newer", "sqlite_unsafe", "encryption_missing"].includes(code);
}

/** Every page, every index against its table. */
export function unsoundPages(driver: SqliteDriver): readonly Damage[] {
  return driver
    .prepare(`PRAGMA integrity_check(${listedMax})`)
    .all<{ integrity_check: string }>()
    .filter(({ integrity_check: says }) => says !== "ok")
    .map(({ integrity_check: says }) => ({ code: "store_corrupt", object: says.slice(0, 64) }));
}

function unverified(deps: DamageDeps): readonly Damage[] {
  const { problems } = checkLog(deps, {
    // Absent content is passed over below, whatever the reason.
    isShredded: () => false,
    openSections: true,
  });
  // Content that was evicted or shredded is absent by intent; keys are another matter than the medium.
  const passing = new Set(["frame_absent", "key_missing"]);
  return problems
    .filter(({ code }) => !passing.has(code))
    .slice(0, listedMax)
    .map(({ code, object }) => ({ code, object }));
}

function behindMark({ crypto, keyring, medium, driver }: DamageDeps): readonly Damage[] {
  // Put back, or salvaged, and not written to since: it is behind by intent.
  if (wasRestored({ keyring, medium }, driver)) return [];
  const log = createSqliteEventLog({ crypto, driver });
  const own = readOwnLog({ crypto, keyring, medium }, { driver, log });
  const verdict = own?.judgement.verdict;
  if (verdict !== "rolled-back" && verdict !== "rewritten") return [];
  return own?.judgement.findings.map((code) => ({ code, object: "mark" })) ?? [];
}

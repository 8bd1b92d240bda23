/** Verifies a whole store: the log by the stand-alone verifier, then mark, keyring, outbox and pages. */
import { accountShreds, unaccounted } from "../lifecycle/shred-account.ts";
import { createStoredLog } from "../lifecycle/stored-log.ts";
import type { Problem } from "../proof/log-source.ts";
import { checkLog } from "../lifecycle/check-log.ts";
import { type HoldfastError, isHoldfastError } from "../std/errors.ts";
import type { SqliteDriver } from "../store/sqlite-driver.ts";
import { readOwnLog, type Session, type SessionDeps } from "../store/session.ts";
import type { Observer } from "../telemetry/observer.ts";
import type { Outbox } from "../outbox/outbox.ts";
import type { AccessTable } from "../sync/access-table.ts";
import type { VerifyOptions, VerifyReport } from "./holdfast.ts";

const listedMax = 20;

/** What is checked: an open session with its outbox. */
type CheckedSession = Session & { readonly outbox: Outbox; readonly access: AccessTable };
type CheckDeps = SessionDeps & { readonly observer: Observer };

export function checkStore(
  deps: CheckDeps,
  session: CheckedSession,
  options: VerifyOptions,
): VerifyReport {
  const end = deps.observer.span("verify");
  const problems: Problem[] = [];
  let verdict = { events: 0, commits: 0, sections: 0 };
  const source = createStoredLog(session.driver);
  try {
    const walked = checkLog(
      { ...deps, driver: session.driver },
      {
        source,
        openSections: options.depth !== "headers",
        allNotes: options.allNotes ?? false,
        ...(options.onProgress === undefined ? {} : { onProgress: options.onProgress }),
      },
    );
    verdict = walked;
    problems.push(...walked.problems);
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
    problems.push(unreadable(error, source.lastRead()));
  }
  problems.push(...checked("table events", () => markProblems(deps, session)));
  for (const { code, copy, line } of deps.keyring.findings) {
    problems.push({ code, object: `keyring ${copy}`, message: `line ${line}` });
  }
  problems.push(...checked("table outbox", () => outboxProblems(session)));
  problems.push(...checked("table access", () => accessProblems(session)));
  problems.push(...checked("table shreds", () => shredProblems(deps, session)));
  problems.push(...pageProblems(session.driver));
  for (const { code } of problems) deps.observer.count("verify_problems", 1, { code });
  end(problems.length === 0 ? "ok" : "error");
  return {
    ok: problems.length === 0,
    events: verdict.events,
    commits: verdict.commits,
    sections: verdict.sections,
    problems,
  };
}

function checked(object: string, check: () => readonly Problem[]): readonly Problem[] {
  try {
    return check();
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
    return [unreadable(error, object)];
  }
}

function unreadable(error: HoldfastError, object: string): Problem {
  return { code: error.code, object, message: error.message };
}

function markProblems(deps: CheckDeps, session: CheckedSession): readonly Problem[] {
  const own = readOwnLog(deps, session);
  const { mark } = own?.reading ?? {};
  const message = `the store holds ${own?.size ?? 0} events, the mark attests ${mark?.size ?? 0}`;
  return (own?.judgement.findings ?? []).map((code) => ({ code, object: "mark", message }));
}

function outboxProblems(session: CheckedSession): readonly Problem[] {
  return session.outbox.check(listedMax).map(({ position, kind }) => {
    return { code: `outbox_entry_${kind}`, object: `event ${position}`, message: "outbox" };
  });
}

function accessProblems(session: CheckedSession): readonly Problem[] {
  const message = "not as the log's access events say";
  return session.access
    .check()
    .slice(0, listedMax)
    .map((row) => ({ code: "access_wrong", object: `access of ${row}`, message }));
}

function accountOf({ keyring }: CheckDeps, { access }: CheckedSession) {
  return accountShreds(access.fold(), keyring.shreds);
}

/** What log or keyring say is shredded is in the table, and nothing besides. */
function shredProblems(deps: CheckDeps, session: CheckedSession): readonly Problem[] {
  const missing = session.access.checkShreds();
  const more = unaccounted(accountOf(deps, session), session.log.shreds.rows());
  const message = "not as the log's access events and the keyring say";
  return [...missing, ...more]
    .slice(0, listedMax)
    .map((row) => ({ code: "shreds_wrong", object: `shred of ${row}`, message }));
}

/**
 * Structure of every page that is in use; names the page. A page that fails its authentication ends SQLite's
 * check without a name: then the tables are checked one by one, and the first that fails is named.
 */
function pageProblems(driver: SqliteDriver): readonly Problem[] {
  try {
    return integrityProblems(driver, String(listedMax));
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
    const tables = checked("table sqlite_schema", () => damagedTables(driver));
    return tables.length > 0 ? tables : [unreadable(error, "database")];
  }
}

function damagedTables(driver: SqliteDriver): readonly Problem[] {
  const tables = driver
    .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY rowid")
    .all<{ name: string }>();
  for (const { name } of tables) {
    try {
      const quoted = `"${name.replaceAll('"', '""')}"`;
      const problems = integrityProblems(driver, quoted);
      if (problems.length > 0) return problems;
    } catch (error) {
      if (!isHoldfastError(error)) throw error;
      return [unreadable(error, `table ${name.slice(0, 64)}`)];
    }
  }
  return [];
}

function integrityProblems(driver: SqliteDriver, what: string): readonly Problem[] {
  const rows = driver.prepare(`PRAGMA integrity_check(${what})`).all<{ integrity_check: string }>();
  return rows
    .map((row) => row.integrity_check)
    .filter((line) => line !== "ok")
    .map((line) => {
      const page = /page (\d+)/i.exec(line)?.[1];
      const object = page === undefined ? "database" : `page ${page}`;
      return { code: "page_damaged", object, message: line };
    });
}

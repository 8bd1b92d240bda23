/** Verifies a whole store: the log by the stand-alone verifier, then mark, keyring, outbox and pages. */
import {
  type EventRow,
  type FrameRow,
  type LogSource,
  type NoteRow,
  type OriginRow,
  type Problem,
  verifyLog,
} from "../proof/verify.ts";
import { type HoldfastError, isHoldfastError } from "../std/errors.ts";
import type { SqliteDriver } from "../store/sqlite-driver.ts";
import { readOwnLog, type Session, type SessionDeps } from "../store/session.ts";
import type { Observer } from "../telemetry/observer.ts";
import type { Outbox } from "../outbox/outbox.ts";
import type { VerifyOptions, VerifyReport } from "./holdfast.ts";

const listedMax = 20;

/** What is checked: an open session with its outbox. */
type CheckedSession = Session & { readonly outbox: Outbox };
type CheckDeps = SessionDeps & { readonly observer: Observer };

export function checkStore(
  deps: CheckDeps,
  session: CheckedSession,
  options: VerifyOptions,
): VerifyReport {
  const end = deps.observer.span("verify");
  const problems: Problem[] = [];
  let verdict = { events: 0, commits: 0, sections: 0 };
  const keys = new Map(deps.keyring.signingKeys().map((key) => [key.incarnation, key.spki]));
  const source = createLogSource(session.driver);
  try {
    const walked = verifyLog({
      crypto: deps.crypto,
      source,
      tenant: deps.keyring.tenant,
      dataKey: (id, generation) => deps.keyring.dataKey(id, generation),
      ownKey: (incarnation) => keys.get(incarnation),
      openSections: options.depth !== "headers",
      allNotes: options.allNotes ?? false,
      ...(options.onProgress !== undefined && { onProgress: options.onProgress }),
    });
    verdict = walked;
    problems.push(...walked.problems);
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
    problems.push(unreadable(error, source.lastRead()));
  }
  problems.push(...checked(() => derivedProblems(deps, session)));
  problems.push(...checked(() => pageProblems(session.driver)));
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

function checked(check: () => readonly Problem[]): readonly Problem[] {
  try {
    return check();
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
    return [unreadable(error, "database")];
  }
}

function unreadable(error: HoldfastError, object: string): Problem {
  return { code: error.code, object, message: error.message };
}

/** Mark, keyring copies and outbox. */
function derivedProblems(deps: CheckDeps, session: CheckedSession): readonly Problem[] {
  const problems: Problem[] = [];
  const own = readOwnLog(deps, session);
  for (const code of own?.judgement.findings ?? []) {
    const { mark } = own?.reading ?? {};
    const message = `the store holds ${own?.size ?? 0} events, the mark attests ${mark?.size ?? 0}`;
    problems.push({ code, object: "mark", message });
  }
  for (const { code, copy, line } of deps.keyring.findings) {
    problems.push({ code, object: `keyring ${copy}`, message: `line ${line}` });
  }
  for (const { position, kind } of session.outbox.check(listedMax)) {
    problems.push({ code: `outbox_entry_${kind}`, object: `event ${position}`, message: "outbox" });
  }
  return problems;
}

/** Structure of every page that is in use; names the page. */
function pageProblems(driver: SqliteDriver): readonly Problem[] {
  const rows = driver
    .prepare(`PRAGMA integrity_check(${listedMax})`)
    .all<{ integrity_check: string }>();
  return rows
    .map((row) => row.integrity_check)
    .filter((line) => line !== "ok")
    .map((line) => {
      const page = /page (\d+)/i.exec(line)?.[1];
      const object = page === undefined ? "database" : `page ${page}`;
      return { code: "page_damaged", object, message: line };
    });
}

/** Rows as they are stored; after a failure, `lastRead` names the first object that could not be read. */
function createLogSource(driver: SqliteDriver): LogSource & { lastRead(): string } {
  let reading = "events";
  const events = driver.prepare(
    `SELECT position, leaf, id, device, incarnations.incarnation AS incarnation, own, sequence,
            type, stream, actor, recorded_at AS recordedAt, header
     FROM events JOIN incarnations ON incarnations.number = events.incarnation
     WHERE position > ? ORDER BY position LIMIT ?`,
  );
  const frames = driver.prepare(
    "SELECT section, key, state, bytes FROM frames WHERE position = ? ORDER BY section",
  );
  const notes = driver.prepare(
    `SELECT size, root, note FROM commits JOIN incarnations
       ON incarnations.number = commits.incarnation
     WHERE device = ? AND incarnations.incarnation = ? AND size > ? ORDER BY size LIMIT ?`,
  );
  const origins = driver.prepare("SELECT device, incarnation FROM incarnations ORDER BY number");
  return {
    lastRead: () => reading,
    origins() {
      reading = "incarnations";
      return origins.all<OriginRow>();
    },
    count: () => driver.prepare("SELECT count(*) AS n FROM events").get<{ n: number }>()?.n ?? 0,
    events(after, limit) {
      try {
        reading = `events after ${after}`;
        return events.all<EventRow>(after, limit);
      } catch (error) {
        // Row by row, so that the first one that cannot be read is named.
        for (let position = after; position - after < limit; position++) {
          reading = `event ${position + 1}`;
          if (events.all<EventRow>(position, 1).length === 0) break;
        }
        throw error;
      }
    },
    frames(position) {
      reading = `frames of event ${position}`;
      return frames.all<FrameRow>(position);
    },
    notes(device, incarnation, after, limit) {
      reading = `commits after ${after} of ${incarnation}`;
      return notes.all<NoteRow>(device, incarnation, after, limit);
    },
  };
}

/**
 * A store that was put back from a backup: a row of the table `store` says so until its next writer has opened an
 * incarnation for it. Row and opening change in one transaction, so that a crash between them leaves no question.
 *
 * The row holds what the high-water marks attested when the store was put back. Once one of them attests more, the
 * row counts for nothing: a copy that was made of the store in between is an older copy like any other.
 */
import type { Keyring } from "../keys/keyring.ts";
import { type MarkFile, readMark } from "./mark.ts";
import type { SqliteDriver } from "./sqlite-driver.ts";

/** Name of the row. */
export const restoredRow = "restored";

/** Where the marks are, and what authenticates them. */
export interface MarksDeps {
  readonly keyring: Pick<Keyring, "signingKeys" | "markMac">;
  readonly medium: { markFile(incarnation: string): MarkFile };
}

function attested({ keyring, medium }: MarksDeps): Readonly<Record<string, number>> {
  return Object.fromEntries(
    keyring.signingKeys().map(({ incarnation }) => {
      const { mark } = readMark(keyring.markMac(), medium.markFile(incarnation));
      return [incarnation, mark?.size ?? 0];
    }),
  );
}

/** Notes that the store was put back; in the caller's transaction. */
export function noteRestored(deps: MarksDeps, driver: SqliteDriver): void {
  driver
    .prepare("INSERT OR REPLACE INTO store (name, value) VALUES (?, ?)")
    .run(restoredRow, JSON.stringify(attested(deps)));
}

/** Was the store put back, and has nothing been recorded for it since? */
export function wasRestored(deps: MarksDeps, driver: SqliteDriver): boolean {
  const row = driver
    .prepare("SELECT value FROM store WHERE name = ?")
    .get<{ value: string }>(restoredRow);
  if (row === undefined) return false;
  const before = JSON.parse(row.value) as Readonly<Record<string, number>>;
  return Object.entries(attested(deps)).every(([inc, size]) => size <= (before[inc] ?? 0));
}

/** In the transaction that opens the next incarnation. */
export function forgetRestored(driver: SqliteDriver): void {
  driver.prepare("DELETE FROM store WHERE name = ?").run(restoredRow);
}

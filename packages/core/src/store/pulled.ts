/**
 * The running hash of what was pulled: h' = SHA-256(h ‖ leaf) over the leaves of foreign events in order of
 * position, from 32 zero bytes; base64, empty before the first. The store keeps it in the table `sync`, the
 * high-water mark outside: an older copy of the store is found even where nothing was recorded since.
 */
import { base64, type Bytes, fromBase64, fromBase64url } from "../std/bytes.ts";
import type { Crypto } from "../std/ports.ts";
import type { SqliteDriver } from "./sqlite-driver.ts";

type Hash = Pick<Crypto, "sha256">;

/** As the store keeps it. */
export function pulledHash(driver: SqliteDriver): string {
  return (
    driver.prepare("SELECT value FROM sync WHERE name = 'pulled'").get<{ value: string }>()
      ?.value ?? ""
  );
}

/** Moves the hash on over leaves that were stored, in the caller's transaction. */
export function extendPulled(crypto: Hash, driver: SqliteDriver, leaves: readonly string[]): void {
  let hash = fromBase64(pulledHash(driver)) ?? zero();
  if (hash.length === 0) hash = zero();
  for (const leaf of leaves) hash = next(crypto, hash, leaf);
  driver
    .prepare(
      `INSERT INTO sync (name, value) VALUES ('pulled', ?)
       ON CONFLICT (name) DO UPDATE SET value = excluded.value`,
    )
    .run(base64(hash));
}

/** Did the store pass through that hash? Computed from its events: only where it differs from the kept one. */
export function wasPulled(crypto: Hash, driver: SqliteDriver, hash: string): boolean {
  if (hash === "" || hash === pulledHash(driver)) return true;
  const page = driver.prepare(
    `SELECT position, leaf FROM events JOIN incarnations ON incarnations.number = events.incarnation
     WHERE own = 0 AND position > ? ORDER BY position LIMIT 1000`,
  );
  let running = zero();
  for (let after = 0; ;) {
    const rows = page.all<{ position: number; leaf: string }>(after);
    for (const { leaf } of rows) {
      running = next(crypto, running, leaf);
      if (base64(running) === hash) return true;
    }
    const last = rows.at(-1);
    if (last === undefined) return false;
    after = last.position;
  }
}

function next(crypto: Hash, hash: Bytes, leaf: string): Bytes {
  return crypto.sha256(hash, fromBase64url(leaf) ?? zero());
}

function zero(): Bytes {
  return new Uint8Array(32);
}

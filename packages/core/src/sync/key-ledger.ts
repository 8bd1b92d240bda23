/**
 * What the log says of granted keys: `KeyGranted` events, own and pulled, read on as the log grows.
 *
 * An event names each grant by the digest of its text. Base mode of HPKE says nothing about the sender, so a
 * grant is believed when an event of a device with access names it, and by nothing else.
 */
import type { Header } from "../event/event.ts";
import { keyGrantedType, type KeyGrantedPub, systemPubFault } from "../event/system.ts";
import type { SqliteDriver } from "../store/sqlite-driver.ts";

/** A key that an event says was granted. */
export interface NamedGrant {
  readonly key: string;
  readonly generation: number;
  /** Device whose log says so. */
  readonly author: string;
  /** Device that it was granted to. */
  readonly device: string;
}

export interface KeyLedger {
  /** Position of the last event that was read. */
  readonly position: number;
  /** Events that name the grant with that digest (SHA-256 of its text, base64url). */
  named(digest: string): readonly NamedGrant[];
  /** Devices that say they wrapped that key for that device's HPKE key. */
  granters(key: string, generation: number, device: string, hpke: string): ReadonlySet<string>;
  /** Devices that say they granted it to somebody: they have it. */
  holders(key: string, generation: number): ReadonlySet<string>;
}

const none: ReadonlySet<string> = new Set();
const nameOf = (key: string, generation: number, device: string, hpke: string): string =>
  `${key}/${generation}/${device}/${hpke}`;

/** A ledger that reads on at each call. `own`: the device whose grants are looked for by digest. */
export function createKeyLedger(
  connection: () => SqliteDriver,
  own: () => string,
): () => KeyLedger {
  const byDigest = new Map<string, NamedGrant[]>();
  const granters = new Map<string, Set<string>>();
  const holders = new Map<string, Set<string>>();
  let position = 0;

  function take({ dev, type, pub }: Header): void {
    if (systemPubFault(type, pub ?? {}) !== undefined) return;
    const { device, hpke, keys } = pub as KeyGrantedPub;
    for (const { key, generation, grant } of keys) {
      const name = nameOf(key, generation, device, hpke);
      granters.set(name, (granters.get(name) ?? new Set()).add(dev));
      const id = `${key}/${generation}`;
      holders.set(id, (holders.get(id) ?? new Set()).add(dev));
      // Of what others got, nobody asks by digest; of what this device sent, it does after a failure.
      if (device !== own() && dev !== own()) continue;
      const named = byDigest.get(grant) ?? [];
      named.push({ key, generation, author: dev, device });
      byDigest.set(grant, named);
    }
  }

  return () => {
    const rows = connection()
      .prepare(
        "SELECT position, header FROM events WHERE type = ? AND position > ? ORDER BY position",
      )
      .all<{ position: number; header: string }>(keyGrantedType, position);
    for (const row of rows) {
      take(JSON.parse(row.header) as Header);
      position = row.position;
    }
    return {
      position,
      named: (digest) => byDigest.get(digest) ?? [],
      holders: (key, generation) => holders.get(`${key}/${generation}`) ?? none,
      granters: (...names) => granters.get(nameOf(...names)) ?? none,
    };
  };
}

/**
 * Attacks on the files of a store, with the high-water mark and the registered keyring copy untouched unless
 * the attack is on them. For each: what it is called when found, and that what is there can still be read.
 *
 * The attacker knows the passphrase, or has read the page key from memory, but does not sign: the signing
 * key is in the keyring, so whoever has the passphrase *and* writes the state folder is not stopped here
 * (LIMITATIONS.md).
 */
import {
  base64,
  base64url,
  type Bytes,
  canonicalJson,
  createTreeBuilder,
  deviceLogOrigin,
  formatCheckpoint,
  formatNote,
  type Keyring,
  leafHash,
  noteKeyId,
  type SqliteDriver,
  utf8,
} from "@holdfast/core";
import { describe, expect, test } from "vitest";
import { crypto, open, withoutTriggers, withPageKey } from "./world.ts";
import { codeOf, events, look, withStore } from "./attacks.ts";

/** What an attacker with the page key does, and how it is found. */
interface Attack {
  readonly name: string;
  readonly attack: (driver: SqliteDriver, keyring: Keyring) => void;
  /** Code with which the store does not open; else what is seen. */
  readonly refused?: string;
  readonly finding?: string;
  readonly problem?: string;
  /** Events that are readable afterwards; all by default. */
  readonly events?: number;
}

const quiet = (sql: string) => (driver: SqliteDriver) => {
  withoutTriggers(driver, () => {
    driver.exec(sql);
  });
};

interface Row {
  readonly position: number;
  readonly leaf: string;
  readonly header: string;
}

/** Rewrites history from a position on: headers, leaves, links, roots and notes all fit, but the signature. */
function rewrite(driver: SqliteDriver, keyring: Keyring, sign: (text: string) => Bytes): void {
  const [key] = keyring.signingKeys();
  if (key === undefined) throw new Error("a store has a signing key");
  const rows = driver
    .prepare("SELECT position, leaf, header FROM events ORDER BY position")
    .all<Row>();
  const tree = createTreeBuilder(crypto);
  const name = deviceLogOrigin({ ...key, tenant: keyring.tenant });
  const keyId = noteKeyId(crypto, { name, ...key });
  let previous = "A".repeat(43);
  for (const { position, header: text } of rows) {
    const header = JSON.parse(text) as Record<string, unknown>;
    const changed = { ...header, prev: previous, ...(position === 5 && { why: "changed" }) };
    const bytes = utf8(canonicalJson(changed));
    const hash = leafHash(crypto, bytes);
    previous = base64url(hash);
    tree.append(hash);
    driver
      .prepare("UPDATE events SET header = ?, leaf = ? WHERE position = ?")
      .run(canonicalJson(changed), previous, position);
    const root = tree.root();
    const statement = formatCheckpoint({ origin: name, size: tree.size, root });
    const note = formatNote(statement, [{ name, keyId, signature: sign(statement) }]);
    driver
      .prepare("UPDATE commits SET root = ?, note = ? WHERE size = ?")
      .run(base64(root), note, tree.size);
  }
}

const attacks: readonly Attack[] = [
  {
    name: "tail rows deleted, triggers dropped",
    attack(driver) {
      driver.exec("PRAGMA foreign_keys = OFF");
      driver.exec("DROP TRIGGER events_no_delete; DELETE FROM events WHERE position > 20");
    },
    refused: "store_drifted",
  },
  {
    name: "tail rows deleted, triggers made again",
    attack: quiet(
      "DELETE FROM events WHERE position > 20; DELETE FROM frames WHERE position > 20; DELETE FROM commits WHERE size > 20; DELETE FROM outbox WHERE position > 20",
    ),
    finding: "store_rolled_back",
    problem: "stream_wrong",
    events: 20,
  },
  {
    name: "an event deleted",
    problem: "position_gap event 10",
    finding: "store_rewritten",
    attack: quiet("DELETE FROM frames WHERE position = 9; DELETE FROM events WHERE position = 9"),
    events: events,
  },
  {
    name: "an event's time changed",
    problem: "column_wrong event 9",
    attack: quiet("UPDATE events SET recorded_at = 1 WHERE position = 9"),
  },
  {
    name: "an event's header changed",
    problem: "leaf_wrong event 9",
    events: 30,
    attack: quiet(
      `UPDATE events SET header = replace(header, '"op":"create"', '"op":"review"') WHERE position = 9`,
    ),
  },
  {
    name: "a header that is no JSON",
    problem: "header_malformed event 9",
    events: 30,
    attack: quiet("UPDATE events SET header = 'x' WHERE position = 9"),
  },
  {
    name: "a header that is not one",
    problem: "header_malformed event 9",
    events: 30,
    attack: quiet("UPDATE events SET header = '{}' WHERE position = 9"),
  },
  {
    name: "an event's stream changed",
    problem: "column_wrong event 9",
    attack: quiet(
      "UPDATE events SET stream = (SELECT stream FROM events WHERE position = 4) WHERE position = 9",
    ),
  },
  {
    name: "an event's actor changed",
    problem: "column_wrong event 9",
    attack: quiet("UPDATE events SET actor = 'AAAAAAAAAAAAAAAAAAAAAA' WHERE position = 9"),
  },
  {
    name: "a leaf changed",
    problem: "leaf_wrong event 9",
    finding: "store_rewritten",
    events: 30,
    attack: quiet("UPDATE events SET leaf = 'B' || substr(leaf, 2) WHERE position = 9"),
  },
  {
    name: "an event inserted",
    problem: "position_gap event 1009",
    finding: "store_rewritten",

    attack: quiet(
      "INSERT INTO events SELECT position + 1000, 'C' || substr(leaf, 2), 'x' || substr(id, 2), incarnation, sequence + 1000, type, stream, actor, recorded_at, header FROM events WHERE position = 9",
    ),
  },
  {
    name: "an event appended in sequence",
    problem: "leaf_wrong event 32",
    finding: "store_rewritten",

    attack: quiet(
      "INSERT INTO events SELECT 32, 'C' || substr(leaf, 2), 'x' || substr(id, 2), incarnation, 32, type, stream, actor, recorded_at, header FROM events WHERE position = 9",
    ),
  },
  {
    name: "two events change places",
    problem: "column_wrong event 9",
    finding: "store_rewritten",
    events: 29,
    attack: quiet(
      "UPDATE events SET position = -1, sequence = 9999 WHERE position = 9; UPDATE events SET position = 9, sequence = 9 WHERE position = 10; UPDATE events SET position = 10, sequence = 10 WHERE position = -1",
    ),
  },
  {
    name: "frames swapped between events",
    problem: "frame_altered event 8",
    events: 29,
    attack: quiet(
      "UPDATE frames SET position = -1 WHERE position = 8; UPDATE frames SET position = 8 WHERE position = 11; UPDATE frames SET position = 11 WHERE position = -1",
    ),
  },
  {
    name: "a frame replaced by another of its stream",
    problem: "frame_altered event 21",
    events: 30,
    attack: quiet(
      "UPDATE frames SET bytes = (SELECT bytes FROM frames WHERE position = 9) WHERE position = 21",
    ),
  },
  {
    name: "a frame deleted",
    problem: "frame_missing event 9",
    attack: quiet("DELETE FROM frames WHERE position = 9"),
  },
  {
    name: "a frame said to be shredded",
    problem: "frame_absent event 9",
    attack: quiet("UPDATE frames SET state = 'shredded', bytes = NULL WHERE position = 9"),
  },
  {
    name: "a data key swapped",
    problem: "frame_altered event 9",
    events: 30,
    attack: quiet(
      "UPDATE frames SET key = (SELECT key FROM frames WHERE position = 4) WHERE position = 9",
    ),
  },
  {
    name: "a stream's scope changed",
    problem: "stream_wrong",
    // Of one to which nothing is appended afterwards: that would be refused, by chance.
    attack: quiet(
      `UPDATE streams SET scope = (SELECT max(scope) FROM streams)
       WHERE stream IN (SELECT stream FROM events WHERE type = 'IncarnationOpened')`,
    ),
  },
  {
    name: "a stream's frontier emptied",
    problem: "stream_wrong",
    attack: quiet(
      "UPDATE streams SET frontier = '{}' WHERE stream = (SELECT min(stream) FROM streams)",
    ),
  },
  {
    name: "a stream's head deleted",
    problem: "stream_missing",
    attack: quiet("DELETE FROM streams WHERE stream = (SELECT min(stream) FROM streams)"),
  },
  {
    name: "the last commit deleted",
    problem: "commit_missing sequence 31",
    finding: "store_rewritten",
    attack: quiet("DELETE FROM commits WHERE size = 31"),
  },
  {
    name: "all commits deleted",
    problem: "commit_missing sequence 1",
    finding: "store_rewritten",
    attack: quiet("DELETE FROM commits"),
  },
  {
    name: "a commit's root changed",
    problem: "root_wrong commit 9",
    attack: quiet(
      "UPDATE commits SET root = (SELECT root FROM commits WHERE size = 8) WHERE size = 9",
    ),
  },
  {
    name: "an outbox row deleted",
    problem: "outbox_entry_missing event 9",
    attack: quiet("DELETE FROM outbox WHERE position = 9"),
  },
  {
    name: "the log disowned",
    problem: "log_disowned log",
    finding: "store_rewritten",
    attack: quiet("UPDATE incarnations SET own = 0"),
  },
  {
    name: "a trigger on a read model",
    attack(driver) {
      driver.exec(
        "CREATE TRIGGER evil AFTER INSERT ON model_latest_1 BEGIN DELETE FROM frames; END",
      );
    },
    refused: "store_drifted",
  },
  {
    name: "a trigger that is named almost like SQLite's own",
    attack(driver) {
      driver.exec(
        "CREATE TRIGGER sqlitexevil AFTER INSERT ON events BEGIN DELETE FROM outbox; END",
      );
    },
    refused: "store_drifted",
  },
  {
    name: "an index dropped",
    attack(driver) {
      driver.exec("DROP INDEX events_by_stream");
    },
    refused: "store_drifted",
  },
  {
    name: "the store's id changed",
    attack: quiet("UPDATE store SET value = 'x' WHERE name = 'store_id'"),
    refused: "store_foreign",
  },
  {
    name: "a newer format",
    attack(driver) {
      driver.exec("PRAGMA user_version = 99");
    },
    refused: "store_newer",
  },
  {
    name: "history rewritten, with the old signatures",
    problem: "frame_altered event 5",
    finding: "store_rewritten",
    events: 4,
    attack(driver, keyring) {
      withoutTriggers(driver, () => {
        rewrite(driver, keyring, () => new Uint8Array(64));
      });
    },
  },
  {
    name: "history rewritten, and signed by a key of the attacker's",
    problem: "frame_altered event 5",
    finding: "store_rewritten",
    events: 4,
    attack(driver, keyring) {
      const { privateKey } = crypto.generateSigningKey("ed25519");
      const sign = crypto.signer("ed25519", privateKey);
      withoutTriggers(driver, () => {
        rewrite(driver, keyring, (text) => sign(utf8(text)));
      });
    },
  },
];

describe("an attacker with the page key", () => {
  test.each(attacks)("$name", async (attack) => {
    await withStore(async (place) => {
      await withPageKey(place, attack.attack);
      if (attack.refused !== undefined) {
        expect(await codeOf(open(place))).toBe(attack.refused);
        expect(await codeOf(open(place, { readOnly: true }))).toBe(attack.refused);
        return;
      }
      const seen = await look(place);
      // Ids of streams and incarnations are random: what stands before them is compared.
      const [first = ""] = seen.problems;
      expect(first.slice(0, attack.problem?.length)).toBe(attack.problem);
      expect(seen.findings).toEqual(attack.finding === undefined ? [] : [attack.finding]);
      expect(seen.append).toBe(attack.finding ?? "appended");
      // What was not destroyed is still there.
      expect(seen.events).toBe(attack.events ?? 1 + events);
    });
  });

  test("a commit between deleted: every event is still proven by a later one", async () => {
    await withStore(async (place) => {
      await withPageKey(place, quiet("DELETE FROM commits WHERE size = 9"));
      const store = await open(place);
      expect(store.verify().ok).toBe(true);
      for (const { id } of store.read()) expect(store.prove(id).size).toBeGreaterThan(0);
      await store.close();
    });
  });
});

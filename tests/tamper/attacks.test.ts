/**
 * Attacks on the files of a store, with the high-water mark and the registered keyring copy untouched unless
 * the attack is on them. For each: what it is called when found, and that what is there can still be read.
 *
 * The attacker knows the passphrase, or has read the page key from memory, but does not sign: the signing
 * key is in the keyring, so whoever has the passphrase *and* writes the state folder is not stopped here
 * (LIMITATIONS.md).
 */
import {
  cpSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import {
  type Bytes,
  base64,
  base64url,
  canonicalJson,
  createTreeBuilder,
  deviceLogOrigin,
  formatCheckpoint,
  formatNote,
  hex,
  type Holdfast,
  isHoldfastError,
  type Keyring,
  leafHash,
  noteKeyId,
  type SqliteDriver,
  utf8,
} from "@holdfast/core";
import { describe, expect, test } from "vitest";
import { withScratch } from "../faults/native.ts";
import { openDatabase } from "../faults/sqlite.ts";
import {
  answersOf,
  copyFolder,
  crypto,
  draftOf,
  makeStore,
  open,
  passphrase,
  type Place,
  placeIn,
  storeIdOf,
  withoutTriggers,
  withPageKey,
} from "./world.ts";

const events = 30;

async function fill(store: Holdfast, from: number, to: number): Promise<void> {
  for (let n = from; n < to; n++) await store.append(draftOf(n));
}

/** A closed store with the opening event and `events` more. */
async function withStore(run: (place: Place, folder: string) => Promise<void>): Promise<void> {
  await withScratch("tamper-attacks", async (folder) => {
    const place = placeIn(folder);
    await makeStore(place);
    const store = await open(place);
    await fill(store, 0, events);
    await store.close();
    await run(place, folder);
  });
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    if (isHoldfastError(error)) return error.code;
    throw error;
  }
  return "no refusal";
}

interface Seen {
  readonly findings: readonly string[];
  readonly problems: readonly string[];
  /** Events that can be read. */
  readonly events: number;
  /** Code of an append, or `appended`. */
  readonly append: string;
}

/** Opens, looks, and tries to append. */
async function look(
  place: Place,
  options: { readonly acceptRollback?: boolean } = {},
): Promise<Seen> {
  const store = await open(place, options);
  try {
    const findings = store.status().findings.map(({ code }) => code);
    const problems = store.verify().problems.map(({ code, object }) => `${code} ${object}`);
    let readable = 0;
    for (let after = 0; ;) {
      try {
        const [event] = store.read({ after, limit: 1 });
        if (event === undefined) break;
        after = event.position;
        readable += 1;
      } catch (error) {
        if (!isHoldfastError(error)) throw error;
        after += 1;
      }
    }
    const append = await codeOf(store.append(draftOf(1_000)));
    return {
      findings,
      problems,
      events: readable,
      append: append.replace("no refusal", "appended"),
    };
  } finally {
    await store.close();
  }
}

describe("copies and older states", () => {
  test("the write-ahead log is deleted", async () => {
    await withStore(async (place, folder) => {
      const store = await open(place);
      await fill(store, events, events + 10);
      const copy = join(folder, "aside");
      copyFolder(place.directory, copy);
      await store.close();
      for (const name of readdirSync(copy)) cpSync(join(copy, name), join(place.directory, name));
      rmSync(join(place.directory, "store.db-wal"));
      const seen = await look(place);
      expect(seen.findings).toContain("store_rolled_back");
      expect(seen.problems[0]).toBe("store_rolled_back mark");
      expect(seen.append).toBe("store_rolled_back");
      // The log is put back: everything is there, as if nothing had been.
      copyFolder(copy, place.directory);
      const again = await open(place);
      expect(again.status().findings).toEqual([]);
      expect(again.verify()).toMatchObject({ ok: true, events: 1 + events + 10 });
      await again.close();
    });
  });

  test("an older folder is put in place of the newer one", async () => {
    await withStore(async (place, folder) => {
      const older = join(folder, "older");
      copyFolder(place.directory, older);
      const store = await open(place);
      await fill(store, events, events + 10);
      await store.close();
      const newer = join(folder, "newer");
      renameSync(place.directory, newer);
      renameSync(older, place.directory);
      const seen = await look(place);
      expect(seen.findings).toEqual(["store_rolled_back"]);
      expect(seen.problems).toEqual(["store_rolled_back mark"]);
      expect(seen.events).toBe(1 + events);
      expect(seen.append).toBe("store_rolled_back");
      const accepted = await look(place, { acceptRollback: true });
      expect(accepted.append).toBe("appended");
      // Nobody is told a second time what was accepted, and the events written since are kept.
      const after = await look(place);
      expect(after.findings).toEqual([]);
      expect(after.problems).toEqual([]);
      expect(after.events).toBe(1 + events + 2);
      // The newest copy of before comes back: it lacks what was written since.
      renameSync(place.directory, older);
      renameSync(newer, place.directory);
      const again = await look(place);
      expect(again.findings).toContain("store_rolled_back");
      expect(again.events).toBe(1 + events + 10);
    });
  });

  test("a copy from before the newest incarnation is put in place", async () => {
    await withStore(async (place, folder) => {
      const older = join(folder, "older");
      copyFolder(place.directory, older);
      const state = join(place.stateDirectory, storeIdOf(place));
      const mark = readdirSync(state).find((name) => name.startsWith("mark-"));
      const kept = readFileSync(join(state, mark as string));
      rmSync(join(state, mark as string));
      const store = await open(place);
      await fill(store, events, events + 5);
      await store.close();
      writeFileSync(join(state, mark as string), kept);
      renameSync(place.directory, join(folder, "newer"));
      renameSync(older, place.directory);
      const seen = await look(place);
      expect(seen.findings).toContain("store_rolled_back");
      expect(seen.append).toBe("store_rolled_back");
    });
  });

  test("an older copy lies in another folder", async () => {
    await withStore(async (place, folder) => {
      const copy = { ...place, directory: join(folder, "copy") };
      copyFolder(place.directory, copy.directory);
      const store = await open(place);
      await fill(store, events, events + 10);
      await store.close();
      rmSync(place.directory, { recursive: true });
      const seen = await look(copy);
      expect(seen.findings).toEqual(["store_cloned"]);
      expect(seen.problems).toEqual(["store_cloned mark"]);
      expect(seen.append).toBe("appended");
      expect(seen.events).toBe(1 + events);
    });
  });

  test("a store that was moved goes on as a new incarnation", async () => {
    await withStore(async (place, folder) => {
      const moved = { ...place, directory: join(folder, "moved") };
      const before = await open(place);
      const { incarnation } = before.status();
      await before.close();
      renameSync(place.directory, moved.directory);
      const reader = await open(moved, { readOnly: true });
      expect(reader.status().findings.map(({ code }) => code)).toEqual(["store_moved"]);
      expect(reader.status().incarnation).toBe(incarnation);
      await reader.close();
      const seen = await look(moved);
      expect(seen).toMatchObject({ findings: ["store_moved"], append: "appended" });
      const after = await look(moved);
      expect(after).toMatchObject({ findings: [], problems: [], events: 1 + events + 2 });
    });
  });

  test("a folder is copied, and both are written", async () => {
    await withStore(async (place, folder) => {
      const copy = { ...place, directory: join(folder, "copy") };
      copyFolder(place.directory, copy.directory);
      for (let round = 0; round < 3; round++) {
        for (const each of [copy, place]) {
          const store = await open(each);
          await store.append(draftOf(100 + round));
          await store.append({
            type: "Measured",
            stream: `new-${round}`,
            actor: "a",
            data: { round },
          });
          const found = store
            .verify()
            .problems.filter(({ object }) => !object.startsWith("keyring"));
          expect(found).toEqual([]);
          await store.close();
        }
      }
      const [a, b] = [await open(place), await open(copy)];
      expect(a.status().incarnation).not.toBe(b.status().incarnation);
      expect(a.status().device).toBe(b.status().device);
      expect(a.read({ limit: 1_000 }).length).toBe(1 + events + 6);
      expect(b.read({ limit: 1_000 }).length).toBe(1 + events + 1 + 6);
      await a.close();
      await b.close();
    });
  });
});

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
    attack: quiet(
      "UPDATE streams SET scope = (SELECT max(scope) FROM streams) WHERE scope = (SELECT min(scope) FROM streams)",
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
    problem: "key_foreign event 1",
    finding: "store_rewritten",
    attack: quiet("UPDATE incarnations SET own = 0"),
  },
  {
    name: "a trigger on a read model",
    attack(driver) {
      driver.exec("CREATE TRIGGER evil AFTER INSERT ON model_latest BEGIN DELETE FROM frames; END");
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

describe("files put in place, taken away, and linked", () => {
  /** Another store with a state folder of its own. */
  async function other(folder: string, words = passphrase): Promise<Place> {
    const place = { directory: join(folder, "other"), stateDirectory: join(folder, "other-state") };
    await makeStore(place, words);
    const store = await open(place, { passphrase: words });
    await fill(store, 0, 3);
    await store.close();
    return place;
  }

  const database = (place: Place): string => join(place.directory, "store.db");
  const keyring = (place: Place): string => join(place.directory, "keyring");
  const registered = (place: Place): string =>
    join(place.stateDirectory, storeIdOf(place), "keyring");

  const refusals: readonly (readonly [
    name: string,
    code: string,
    attack: (place: Place, folder: string) => void | Promise<void>,
  ])[] = [
    [
      "the database is deleted",
      "store_database_missing",
      (place) => {
        rmSync(database(place));
      },
    ],
    [
      "the database is empty",
      "store_foreign",
      (place) => {
        writeFileSync(database(place), "");
      },
    ],
    [
      "the database is random bytes",
      "store_corrupt",
      (place) => {
        writeFileSync(database(place), crypto.sha256());
      },
    ],
    [
      "the database is of another store",
      "store_corrupt",
      async (place, folder) => {
        cpSync(database(await other(folder)), database(place));
      },
    ],
    [
      "the database is plain SQLite",
      "store_foreign",
      (place) => {
        rmSync(database(place));
        const plain = openDatabase(database(place));
        plain.exec("CREATE TABLE t (x)");
        plain.close();
      },
    ],
    [
      "the keyring is of another store",
      "keyring_foreign",
      async (place, folder) => {
        cpSync(keyring(await other(folder)), keyring(place));
      },
    ],
    [
      "the keyring is of another store, with another passphrase",
      "keyring_foreign",
      async (place, folder) => {
        cpSync(keyring(await other(folder, "another passphrase")), keyring(place));
      },
    ],
    [
      "the registered keyring is of another store",
      "keyring_foreign",
      async (place, folder) => {
        cpSync(keyring(await other(folder)), registered(place));
      },
    ],
    [
      "both keyrings are deleted",
      "keyring_missing",
      (place) => {
        rmSync(keyring(place));
        rmSync(registered(place));
      },
    ],
    [
      "both keyrings are empty",
      "keyring_corrupt",
      (place) => {
        writeFileSync(keyring(place), "");
        writeFileSync(registered(place), "");
      },
    ],
    [
      "the folder is empty",
      "store_missing",
      (place) => {
        for (const name of readdirSync(place.directory)) rmSync(join(place.directory, name));
      },
    ],
    [
      "the folder is a link",
      "store_unsafe_path",
      (place, folder) => {
        renameSync(place.directory, join(folder, "real"));
        symlinkSync(join(folder, "real"), place.directory);
      },
    ],
    [
      "the database is a link",
      "store_unsafe_path",
      (place, folder) => {
        renameSync(database(place), join(folder, "real"));
        symlinkSync(join(folder, "real"), database(place));
      },
    ],
    [
      "the write-ahead log is a link",
      "store_unsafe_path",
      (place, folder) => {
        writeFileSync(join(folder, "real"), "precious");
        symlinkSync(join(folder, "real"), `${database(place)}-wal`);
      },
    ],
    [
      "the keyring is a link",
      "keyring_unsafe_file",
      (place, folder) => {
        renameSync(keyring(place), join(folder, "real"));
        symlinkSync(join(folder, "real"), keyring(place));
      },
    ],
    [
      "the mark is a link",
      "store_unsafe_path",
      (place, folder) => {
        const state = join(place.stateDirectory, storeIdOf(place));
        const mark = join(
          state,
          readdirSync(state).find((name) => name.startsWith("mark-")) as string,
        );
        renameSync(mark, join(folder, "real"));
        symlinkSync(join(folder, "real"), mark);
      },
    ],
  ];

  test.each(refusals)("%s: %s", async (_name, code, attack) => {
    await withStore(async (place, folder) => {
      await attack(place, folder);
      const before = existsSync(database(place)) ? readFileSync(database(place)) : undefined;
      for (const readOnly of [true, false]) {
        expect(await codeOf(open(place, { readOnly }))).toBe(code);
      }
      // Nothing was recreated, and nothing was written.
      expect(existsSync(database(place)) ? readFileSync(database(place)) : undefined).toEqual(
        before,
      );
    });
  });

  const survived: readonly (readonly [
    name: string,
    findings: readonly string[],
    attack: (place: Place) => void,
  ])[] = [
    [
      "the keyring in the folder is deleted",
      ["keyring_copy_missing"],
      (place) => {
        rmSync(keyring(place));
      },
    ],
    [
      "the registered keyring is deleted",
      ["keyring_copy_missing"],
      (place) => {
        rmSync(registered(place));
      },
    ],
    [
      "the mark is deleted",
      ["mark_missing"],
      (place) => {
        const state = join(place.stateDirectory, storeIdOf(place));
        for (const name of readdirSync(state))
          if (name.startsWith("mark-")) rmSync(join(state, name));
      },
    ],
    [
      "the state folder is deleted",
      ["keyring_copy_missing", "mark_missing"],
      (place) => {
        rmSync(place.stateDirectory, { recursive: true });
      },
    ],
  ];

  test.each(survived)("%s: found, and the store goes on", async (_name, findings, attack) => {
    await withStore(async (place) => {
      const before = await open(place);
      const answers = answersOf(before);
      await before.close();
      attack(place);
      const store = await open(place);
      expect(store.status().findings.map(({ code }) => code)).toEqual(findings);
      expect(answersOf(store)).toEqual(answers);
      await store.append(draftOf(2_000));
      await store.close();
      const after = await open(place);
      expect(after.read().slice(0, 1 + events)).toEqual(answers.events);
      expect(after.verify().problems.filter(({ object }) => !object.startsWith("keyring"))).toEqual(
        [],
      );
      await after.close();
    });
  });

  test("a keyring of a newer format", async () => {
    await withStore(async (place) => {
      for (const path of [keyring(place), registered(place)]) newerKeyring(path);
      expect(await codeOf(open(place))).toBe("keyring_newer");
    });
  });

  test("a wrong passphrase, a missing salt and a corrupt keyring have a code each", async () => {
    await withStore(async (place) => {
      expect(await codeOf(open(place, { passphrase: "wrong" }))).toBe("key_wrong");
      expect(await codeOf(open(place, { passphrase: "" }))).toBe("key_wrong");
      const whole = readFileSync(keyring(place), "utf8").split("\n");
      const both = (lines: readonly string[]): void => {
        for (const path of [keyring(place), registered(place)])
          writeFileSync(path, lines.join("\n"));
      };
      both(whole.filter((line) => !line.includes('"kind":"provider"')));
      expect(await codeOf(open(place))).toBe("keyring_salt_missing");
      both(
        whole.map((line) =>
          line.includes('"kind":"provider"') ? line.replace("argon2id", "argon2ix") : line,
        ),
      );
      expect(await codeOf(open(place))).toBe("keyring_corrupt");
      both(whole.map((line) => (line.includes('"kind":"keyring"') ? `${line}x` : line)));
      expect(await codeOf(open(place))).toBe("keyring_corrupt");
      both(whole);
      const store = await open(place);
      expect(store.verify().ok).toBe(true);
      await store.close();
    });
  });

  test("nobody but the owner can read what is made", async () => {
    await withStore(async (place, folder) => {
      const store = await open(place);
      await fill(store, 0, 2);
      const names = readdirSync(folder, { recursive: true, encoding: "utf8" });
      expect(names.some((name) => name.endsWith("-wal"))).toBe(true);
      for (const name of names) {
        const stat = statSync(join(folder, name));
        const expected = stat.isFile() ? "600" : "700";
        expect(`${name} ${(stat.mode & 0o777).toString(8)}`).toBe(`${name} ${expected}`);
      }
      await store.close();
    });
  });
});

/** Raises the format of a keyring's header; the line's checksum is made again. */
function newerKeyring(path: string): void {
  const [header, ...rest] = readFileSync(path, "utf8").split("\n");
  const record = JSON.parse(
    (header as string).slice(0, (header as string).lastIndexOf("}") + 1),
  ) as object;
  const json = canonicalJson({ ...record, format: 99 });
  const line = `${json} ${hex(crypto.sha256(utf8(json))).slice(0, 16)}`;
  writeFileSync(path, [line, ...rest].join("\n"));
}

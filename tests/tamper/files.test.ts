/** Files of a store deleted, replaced by others, or linked: a code each, and nothing is recreated. */
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
import { canonicalJson, hex, utf8 } from "@holdfast/core";
import { describe, expect, test } from "vitest";
import { openDatabase } from "../faults/sqlite.ts";
import {
  answersOf,
  crypto,
  draftOf,
  makeStore,
  open,
  passphrase,
  type Place,
  storeIdOf,
} from "./world.ts";
import { codeOf, events, fill, withStore } from "./attacks.ts";

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

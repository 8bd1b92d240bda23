/** Stores written by earlier releases open, are migrated with equal leaves, keep every event and verify. */
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  base64url,
  createRegistry,
  formatOf,
  openKeyring,
  openSoftwareProvider,
  schemaLifts,
  type SqliteDriver,
  storeFormat,
  utf8,
} from "@holdfast/core";
import {
  applyMigration,
  checkStart,
  createNodeCrypto,
  dryRunMigration,
  keyringFiles,
  migrationStatus,
  openSqlite,
  openStore,
  rollBackMigration,
  systemRandom,
} from "@holdfast/node";
import { packEvents } from "@holdfast/packs";
import { afterEach, describe, expect, it } from "vitest";

const fixtures = new URL("../fixtures/", import.meta.url).pathname;
const registry = createRegistry(packEvents);
const folders: string[] = [];

function copyOf(format: number) {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-format-"));
  folders.push(folder);
  cpSync(join(fixtures, `store-format-${format}`), folder, { recursive: true });
  const passphrase = `fixture of format ${format}`;
  return { directory: join(folder, "store"), stateDirectory: join(folder, "state"), passphrase };
}

type Place = ReturnType<typeof copyOf>;

function storeIdOf({ stateDirectory }: Place): string {
  return readdirSync(stateDirectory)[0] ?? "";
}

async function withDatabase<T>(place: Place, use: (driver: SqliteDriver) => T): Promise<T> {
  const { directory, stateDirectory, passphrase } = place;
  const storeId = storeIdOf(place);
  const ports = { crypto: createNodeCrypto(), random: systemRandom };
  const openProvider = openSoftwareProvider({ ...ports, passphrase: utf8(passphrase) });
  const files = keyringFiles(directory, stateDirectory, storeId);
  const keyring = await openKeyring({ ...ports, files, openProvider, storeId });
  const pageKey = keyring.pageKey();
  keyring[Symbol.dispose]();
  const path = join(directory, "store.db");
  const driver = openSqlite({ path, pageKey, readOnly: false, create: false });
  try {
    return use(driver);
  } finally {
    driver.close();
  }
}

const rowsOf = (driver: SqliteDriver) =>
  [
    "SELECT position, leaf, header FROM events ORDER BY position",
    "SELECT position, section, key, bytes FROM frames ORDER BY position, section",
    "SELECT incarnation, size, root, note FROM commits ORDER BY number",
    "SELECT position, lane, enqueued_at FROM outbox ORDER BY position",
  ].map((sql) =>
    driver
      .prepare(sql)
      .all<Record<string, unknown>>()
      .map((row) =>
        Object.values(row).map((value) => (value instanceof Uint8Array ? base64url(value) : value)),
      ),
  );

afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

it("every released format has its fixture, and every step its lift", () => {
  const formats = readdirSync(fixtures).filter((name) => name.startsWith("store-format-"));
  const numbers = formats.map((name) => Number(name.slice("store-format-".length)));
  expect(numbers.toSorted((a, b) => a - b)).toEqual(
    Array.from({ length: storeFormat }, (_, at) => at + 1),
  );
  expect(schemaLifts.map(({ from, to }) => [from, to])).toEqual(
    Array.from({ length: storeFormat - 1 }, (_, at) => [at + 1, at + 2]),
  );
});

describe.each([1, 2, 3])("a store written by the release of format %i", (format) => {
  it("opens for writing, keeps its leaves, and verifies", async () => {
    const place = copyOf(format);
    const before = await withDatabase(place, rowsOf);
    const store = await openStore({ ...place, registry, projections: [] });
    // It lies in another folder than its mark says until it records something, as of its migration; nothing else.
    const migrations = format < storeFormat ? 1 : 0;
    expect(store.read({ type: "StoreMigrated" })).toHaveLength(migrations);
    expect(store.verify().problems.map(({ code }) => code)).toEqual(
      migrations === 0 ? ["store_moved"] : [],
    );
    await store.close();
    const again = await openStore({ ...place, registry, projections: [], readOnly: true });
    expect(again.read({ type: "StoreMigrated" })).toHaveLength(migrations);
    await again.close();
    const after = await withDatabase(place, rowsOf);
    for (const [at, rows] of before.entries()) {
      expect(after[at]?.slice(0, rows.length)).toEqual(rows);
    }
  });
});

describe("a store of format 1", () => {
  it("is refused to readers until it was opened for writing", async () => {
    const place = copyOf(1);
    const opened = openStore({ ...place, registry, projections: [], readOnly: true });
    await expect(opened).rejects.toMatchObject({ code: "store_older" });
    const report = await checkStart({ ...place, registry });
    expect(report.status).toBe("needs-migration");
  });

  it("is migrated by hand: planned, tried, applied, taken back", async () => {
    const place = copyOf(1);
    const before = await withDatabase(place, rowsOf);
    const bytes = () => readFileSync(join(place.directory, "store.db")).toString("base64");
    const untouched = bytes();
    expect(await migrationStatus(place)).toMatchObject({
      format: 1,
      current: storeFormat,
      interrupted: false,
      due: { id: `store-format-1-to-${storeFormat}` },
      last: undefined,
    });
    expect(await dryRunMigration(place)).toMatchObject({ errors: 0 });
    expect(bytes()).toBe(untouched);
    const applied = await applyMigration(place);
    expect(applied).toMatchObject({ phase: "committed", errors: 0 });
    expect(applied?.records).toBeGreaterThan(57);
    expect(await withDatabase(place, formatOf)).toBe(storeFormat);
    expect(await withDatabase(place, rowsOf)).toEqual(before);
    expect(await applyMigration(place)).toBeUndefined();
    expect(await rollBackMigration(place)).toMatchObject({ phase: "rolled-back" });
    expect(await withDatabase(place, formatOf)).toBe(1);
    expect(await withDatabase(place, rowsOf)).toEqual(before);
    await expect(rollBackMigration(place)).rejects.toMatchObject({ code: "migration_none" });
    expect(readdirSync(place.directory).toSorted()).toEqual(["keyring", "store.db"]);
  });

  it("is not taken back over what only the new format can hold", async () => {
    const place = copyOf(1);
    await applyMigration(place);
    await withDatabase(place, (driver) => {
      driver.exec("INSERT INTO pulls VALUES ('*', 7)");
    });
    const failed = await rollBackMigration(place).catch((error: unknown) => error);
    expect(failed).toMatchObject({ code: "migration_irreversible", details: { table: "pulls" } });
    expect(await withDatabase(place, formatOf)).toBe(storeFormat);
    // The refusal leaves nothing open: the store goes on as it is.
    const store = await openStore({ ...place, registry, projections: [] });
    await store.close();
  });

  it("stays as it was when its log does not verify", async () => {
    const place = copyOf(1);
    await withDatabase(place, (driver) => {
      driver.exec(`DROP TRIGGER events_no_update;
        UPDATE events SET actor = 'somebody' WHERE position = 9;
        CREATE TRIGGER events_no_update BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'events are never updated'); END;`);
    });
    const opened = openStore({ ...place, registry, projections: [] });
    await expect(opened).rejects.toMatchObject({
      code: "migration_failed",
      details: { phase: "backed-up", code: "column_wrong", object: "event 9" },
    });
    expect(await withDatabase(place, formatOf)).toBe(1);
    expect(readdirSync(place.directory).toSorted()).toEqual(["keyring", "store.db"]);
  });

  it("goes on from a record that a killed process left", async () => {
    const place = copyOf(1);
    const path = join(place.stateDirectory, storeIdOf(place), "migration");
    await applyMigration(place);
    const record = JSON.parse(readFileSync(path, "utf8")) as object;
    writeFileSync(path, JSON.stringify({ ...record, phase: "verifying" }));
    const found = await checkStart({ ...place, registry });
    expect(found.status).toBe("needs-migration");
    // Its copy is gone: what cannot be compared is taken back, and then lifted anew.
    const opened = openStore({ ...place, registry, projections: [] });
    await expect(opened).rejects.toMatchObject({ code: "migration_failed" });
    expect(await withDatabase(place, formatOf)).toBe(1);
    const store = await openStore({ ...place, registry, projections: [] });
    expect(store.verify().ok).toBe(true);
    await store.close();
  });
});

it("a newer format is refused and left alone, and drift is named", async () => {
  const place = copyOf(storeFormat);
  const set = (sql: string) =>
    withDatabase(place, (driver) => {
      driver.exec(sql);
    });
  await set(`PRAGMA user_version = ${storeFormat + 1}`);
  const bytes = readFileSync(join(place.directory, "store.db"));
  const open = () => openStore({ ...place, registry, projections: [] });
  await expect(open()).rejects.toMatchObject({ code: "store_newer" });
  await expect(applyMigration(place)).rejects.toMatchObject({ code: "store_newer" });
  expect(readFileSync(join(place.directory, "store.db")).equals(bytes)).toBe(true);
  expect(existsSync(join(place.stateDirectory, storeIdOf(place), "migration"))).toBe(false);
  await set(`PRAGMA user_version = ${storeFormat}; DROP INDEX events_by_actor`);
  const refused = { code: "store_drifted", details: { object: "missing index events_by_actor" } };
  await expect(open()).rejects.toMatchObject(refused);
});

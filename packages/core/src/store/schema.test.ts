import { openSqlite } from "@holdfast/node";
import { describe, expect, it } from "vitest";
import { checkFormat, createSchema, formatOf, schemaDrift, storeFormat } from "./schema.ts";
import { lowerSchema, raiseSchema } from "./schema-lifts.ts";
import type { SqliteDriver } from "./sqlite-driver.ts";

function made(...statements: readonly string[]): SqliteDriver {
  const driver = openSqlite({
    path: ":memory:",
    pageKey: undefined,
    readOnly: false,
    create: true,
  });
  createSchema(driver);
  for (const statement of statements) driver.exec(statement);
  return driver;
}

describe("schema of a store", () => {
  it("does not drift by itself, nor by read models", () => {
    expect(schemaDrift(made())).toEqual([]);
    const model =
      "CREATE TABLE model_diary (stream TEXT); CREATE INDEX model_diary_i ON model_diary (stream)";
    expect(schemaDrift(made(model))).toEqual([]);
  });

  it.each([
    ["DROP TRIGGER events_no_delete", "missing trigger events_no_delete"],
    ["DROP INDEX events_by_type", "missing index events_by_type"],
    ["DROP TABLE outbox", "missing table outbox"],
    ["ALTER TABLE events ADD COLUMN note TEXT", "different table events"],
    ["CREATE VIEW everything AS SELECT * FROM events", "unexpected view everything"],
    [
      "CREATE TRIGGER sly AFTER INSERT ON events BEGIN DELETE FROM outbox; END",
      "unexpected trigger sly",
    ],
    [
      `DROP TRIGGER commits_no_update;
       CREATE TRIGGER commits_no_update BEFORE UPDATE ON commits BEGIN SELECT 1; END`,
      "different trigger commits_no_update",
    ],
  ])("names what %s changed", (statement, drift) => {
    expect(schemaDrift(made(statement))).toContain(drift);
  });

  it("tells a foreign file and a newer format apart", () => {
    const check = (statement: string) => (): void => {
      checkFormat(made(statement));
    };
    expect(check("SELECT 1")).not.toThrow();
    expect(check("PRAGMA application_id = 7")).toThrow(/^store_foreign/);
    expect(check("PRAGMA user_version = 4")).toThrow(/^store_newer.*format=4/);
    expect(check("PRAGMA user_version = 0")).toThrow(/^store_foreign.*format=0/);
  });

  const event = `INSERT INTO incarnations VALUES (1, 'd', 'i', 1);
    INSERT INTO events VALUES (1, '${"a".repeat(43)}', '${"b".repeat(36)}', 1, 1, 't', 's', 'a', 0, '{}');
    INSERT INTO commits VALUES (1, 1, 1, 'r', 'n');
    INSERT INTO tiles VALUES (1, 0, 'r');
    INSERT INTO shreds VALUES ('scope', '', 'shred', 'leaf', 'frames-deleted');`;
  const again = (position: number, sequence: number): string =>
    `INSERT INTO events VALUES (${position}, '${"c".repeat(43)}', '${"d".repeat(36)}', 1, ${sequence}, 't', 's', 'a', 0, '{}')`;

  it.each([
    "UPDATE events SET type = 'x'",
    "DELETE FROM events",
    "UPDATE commits SET note = 'x'",
    "DELETE FROM commits",
    "UPDATE tiles SET root = 'x'",
    "DELETE FROM tiles",
    "DELETE FROM shreds",
    "UPDATE shreds SET state = 'keys-destroyed'",
    "UPDATE shreds SET state = 'in-force'",
    "UPDATE shreds SET scope = 'other'",
    "UPDATE shreds SET state = 'undone'",
    "INSERT OR REPLACE INTO shreds VALUES ('scope', '', 'shred', 'leaf', 'in-force')",
    "INSERT OR REPLACE INTO commits VALUES (1, 1, 1, 'other', 'n')",
    again(3, 2),
    again(1, 2),
    again(2, 3),
    again(2, 1),
  ])("refuses %s", (statement) => {
    const driver = made(event);
    driver.exec("PRAGMA recursive_triggers = ON");
    expect(() => {
      driver.exec(statement);
    }).toThrow(/^store_constraint/);
  });

  it("lets a shred go forward", () => {
    const driver = made(event);
    for (const state of ["cleaned", "cleaned", "acknowledged"]) {
      driver.exec(`UPDATE shreds SET state = '${state}'`);
    }
    expect(driver.prepare("SELECT state FROM shreds").all()).toEqual([{ state: "acknowledged" }]);
  });

  it("lifts format 2, which had no shreds", () => {
    const driver = made("DROP TABLE shreds; PRAGMA user_version = 2");
    raiseSchema(driver, storeFormat);
    expect([formatOf(driver), schemaDrift(driver)]).toEqual([storeFormat, []]);
    lowerSchema(driver, 2);
    expect([formatOf(driver), schemaDrift(driver)]).toEqual([
      2,
      [
        "missing index shreds_open",
        "missing table shreds",
        "missing trigger shreds_no_delete",
        "missing trigger shreds_only_forward",
      ],
    ]);
    raiseSchema(driver, storeFormat);
    driver.exec("INSERT INTO shreds VALUES ('scope', '', 'shred', 'leaf', 'in-force')");
    expect(() => {
      lowerSchema(driver, 2);
    }).toThrow("migration_irreversible");
  });

  it("takes the next event", () => {
    const driver = made(event);
    expect(() => {
      driver.exec(again(2, 2));
    }).not.toThrow();
  });
});

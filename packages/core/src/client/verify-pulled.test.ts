import { createNodeCrypto, openPlainSqlite, systemRandom } from "@holdfast/node";
import {
  createNoteDraft as note,
  createReferenceServer,
  createTestDevices,
  enrolAt,
  pullAll,
  pushAll,
  testTenant as tenant,
} from "@holdfast/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { lifeOf } from "./grant-store.ts";

const crypto = createNodeCrypto();
const devices = createTestDevices({
  crypto,
  random: systemRandom,
  openFile: openPlainSqlite,
  lifeOf,
});

type Device = Awaited<ReturnType<typeof devices.make>>;
const server = createReferenceServer({ crypto, tenant, now: () => 1_000 });
let a: Device;
let b: Device;

async function exchange(): Promise<void> {
  for (const each of [a, b]) await pushAll(each, server);
  await pullAll(b, server);
}

/** A replica that has pulled twice: two notes, a link, two proofs; and has receipts of its own. */
beforeAll(async () => {
  a = await devices.make();
  b = await devices.make();
  for (const each of [a, b]) await enrolAt(server, each);
  for (const text of ["1", "2"]) {
    await a.store.append([note("x", text), note("y", text)]);
    await b.store.append(note("z", text));
    await exchange();
  }
});

afterAll(async () => {
  for (const each of [a, b]) await each.life.close();
  devices.remove();
});

/** Flips the last bit of a column of bytes. */
const flip = (column: string): string =>
  `CAST(substr(${column}, 1, length(${column}) - 1) ||
    CASE substr(${column}, -1) WHEN x'00' THEN x'01' ELSE x'00' END AS BLOB)`;
const foreign = "(SELECT number FROM incarnations WHERE own = 0)";
const own = "(SELECT number FROM incarnations WHERE own = 1)";

/** What somebody with the page key may change, and a finding that names it. */
const changes: readonly (readonly [string, string])[] = [
  [`UPDATE checkpoints SET path = ${flip("path")} WHERE before > 0`, "checkpoint_forked"],
  ["UPDATE checkpoints SET before = before + 1 WHERE before > 0", "checkpoint_forked"],
  ["UPDATE checkpoints SET note = replace(note, 'server.test', 'elsewhere')", "checkpoint_forged"],
  ["DELETE FROM checkpoints WHERE before = 0", "checkpoint_missing"],
  ["DELETE FROM sync WHERE name = 'server'", "checkpoint_forged"],
  ["UPDATE sync SET value = 'x' WHERE name = 'server'", "checkpoint_forged"],
  [`DELETE FROM server_leaves WHERE kind = 'enrol' AND incarnation = ${foreign}`, "key_foreign"],
  [
    `DELETE FROM server_leaves WHERE kind = 'receipt' AND incarnation = ${foreign}`,
    "receipt_missing",
  ],
  [`UPDATE server_leaves SET path = ${flip("path")} WHERE length(path) > 0`, "receipt_unproven"],
  ["UPDATE server_leaves SET size = size + 1", "receipt_wrong"],
  [`UPDATE server_leaves SET incarnation = ${foreign} WHERE incarnation = ${own}`, "receipt_wrong"],
  [`UPDATE note_links SET path = ${flip("path")}`, "note_unlinked"],
  ["DELETE FROM note_links", "note_unlinked"],
  [`UPDATE proofs SET hashes = ${flip("hashes")} WHERE length(hashes) > 0`, "inclusion_wrong"],
  ["UPDATE proofs SET indices = '[0]'", "inclusion_wrong"],
  ["DELETE FROM proofs", "event_unproven"],
  [
    `UPDATE commits SET note = replace(note, 'A', 'B') WHERE incarnation = ${foreign}`,
    "signature_wrong",
  ],
  [
    `UPDATE events SET header = replace(header, '"tv":1', '"tv":2')
    WHERE type = 'NoteTaken' AND incarnation = ${foreign}`,
    "inclusion_wrong",
  ],
  [`DELETE FROM events WHERE sequence = 1 AND incarnation = ${foreign}`, "opening_missing"],
  ["UPDATE incarnations SET own = 1", "key_foreign"],
  ["UPDATE incarnations SET own = 0", "log_disowned"],
];

describe("what was pulled", () => {
  it("verifies as it is, with every note", () => {
    expect(b.store.verify().problems).toEqual([]);
    expect(b.store.verify({ allNotes: true }).problems).toEqual([]);
  });

  it.each(changes)("is found when it was changed: %s", (change, code) => {
    const { driver } = b.life.current();
    driver.exec("BEGIN");
    try {
      const triggers = driver
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'trigger'")
        .all<{ name: string }>();
      for (const { name } of triggers) driver.exec(`DROP TRIGGER ${name}`);
      driver.exec("PRAGMA defer_foreign_keys = ON");
      driver.exec(change);
      expect(b.store.verify().problems.map((problem) => problem.code)).toContain(code);
    } finally {
      driver.exec("ROLLBACK");
    }
    expect(b.store.verify().ok).toBe(true);
  });
});

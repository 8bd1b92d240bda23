import { openSqlite } from "@holdfast/node";
import fc from "fast-check";
import { expect, it } from "vitest";
import { base64 } from "../std/bytes.ts";
import { createSchema } from "../store/schema.ts";
import { createShredTable, type ShredState, shredStates } from "../store/shreds.ts";
import type { AppendedRow } from "../store/sqlite-event-log.ts";
import { createAccessTable, readAccess, shredsOf } from "./access-table.ts";

const [founder, admin] = ["founder", "admin"].map((name) => name.padEnd(22, "0")) as [
  string,
  string,
];
const [ada, bob] = ["A".repeat(22), "B".repeat(22)] as const;
const [shredId, otherId, hold] = ["S".repeat(22), "T".repeat(22), "H".repeat(22)] as const;
const hpke = base64(new Uint8Array(32));

const bodies = [
  {
    type: "AccessGranted",
    pub: { device: admin, hpke, role: "admin", scopes: ["*"] },
  },
  { type: "AccessRevoked", pub: { device: admin, scopes: ["*"] } },
  { type: "HoldPlaced", pub: { hold, scopes: [ada] } },
  { type: "HoldLifted", pub: { hold } },
  { type: "ShredRequested", pub: { shred: shredId, scopes: [ada, bob] } },
  { type: "ShredRequested", pub: { shred: otherId, scopes: [bob], section: "identity" } },
  { type: "ShredApproved", pub: { shred: shredId } },
  { type: "ShredApproved", pub: { shred: shredId } },
  { type: "ShredApproved", pub: { shred: otherId } },
  { type: "ShredApproved", pub: { shred: otherId } },
] as const;

const arrival = fc.record({
  body: fc.constantFrom(...bodies),
  by: fc.constantFrom(founder, founder, admin),
  actor: fc.constantFrom("officer", "director"),
  at: fc.nat(9),
  /** How many of the events before it its author had seen. */
  seen: fc.nat(12),
  /** The row that the effect then moves on, and to where. */
  moves: fc.tuple(fc.nat(3), fc.constantFrom(...shredStates)),
});

const rank = (state: ShredState): number => shredStates.indexOf(state);

/** What the table holds must be what any prefix of what arrived has put in force, never less, never back. */
it("holds every shred that the log ever put in force, whatever order it takes later", () => {
  let everInForce = 0;
  fc.assert(
    fc.property(fc.array(arrival, { maxLength: 16 }), (arrivals) => {
      const driver = openSqlite({
        path: ":memory:",
        pageKey: undefined,
        readOnly: false,
        create: true,
      });
      createSchema(driver);
      driver.exec(
        `INSERT INTO store VALUES ('founder', '${founder}');
         INSERT INTO incarnations VALUES (1, '${founder}', 'i', 1), (2, '${admin}', 'i', 0)`,
      );
      const table = createShredTable(driver);
      const access = createAccessTable({ driver, keyring: { renewDataKeys: () => 0 } });
      const counts = new Map<string, number>();
      const after: Readonly<Record<string, number>>[] = [{}];
      const expected = new Map<string, ShredState>();
      const insert = driver.prepare(
        "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, 'access', ?, ?, ?)",
      );
      for (const [index, { body, by, actor, at, seen, moves }] of arrivals.entries()) {
        const count = (counts.get(by) ?? 0) + 1;
        counts.set(by, count);
        const vv = after[Math.min(seen, index)];
        after.push({ ...after[index], [`${by}/i`]: count });
        const [leaf, id] = [`leaf ${index}`.padEnd(43), `id ${index}`.padEnd(36)];
        const stand = { v: 1, dev: by, inc: "i", seq: count, sseq: count, stream: "access" };
        const header = { ...stand, at, act: actor, op: "access", vv, ...body };
        const incarnation = by === founder ? 1 : 2;
        const text = JSON.stringify(header);
        insert.run(index + 1, leaf, id, incarnation, count, body.type, actor, at, text);
        access.apply([{ sealed: { header } } as unknown as AppendedRow]);
        const now = shredsOf(readAccess(driver));
        for (const { scope, section, shred } of now) {
          const name = `${scope}/${section}/${shred}`;
          if (!expected.has(name)) expected.set(name, "in-force");
        }
        const rows = table.rows();
        expect(
          new Map(
            rows.map(({ scope, section, shred, state }) => [`${scope}/${section}/${shred}`, state]),
          ),
        ).toEqual(new Map([...expected].toSorted()));
        expect(access.checkShreds()).toEqual([]);
        for (const { scope, section } of now) {
          expect(table.isShredded(scope, section === "" ? "any" : section)).toBe(true);
        }
        everInForce += now.length;
        const row = rows[moves[0]];
        if (row === undefined) continue;
        const [name, state] = [`${row.scope}/${row.section}/${row.shred}`, moves[1]];
        if (rank(state) < rank(row.state)) {
          expect(() => {
            table.advance(row, state);
          }).toThrow(/^store_constraint/);
        } else {
          table.advance(row, state);
          expected.set(name, state);
        }
      }
      driver.close();
    }),
    { numRuns: 150 },
  );
  expect(everInForce).toBeGreaterThan(0);
});

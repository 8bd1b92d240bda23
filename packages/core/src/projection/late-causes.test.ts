/** What arrives behind its effects moves them: snapshots that were taken in between must not be gone on from. */
import { createNodeCrypto, openPlainSqlite } from "@holdfast/node";
import {
  configure,
  createSchema,
  createSqliteEventLog,
  type Header,
  inTransaction,
  originKey,
  type RecordedEvent,
} from "@holdfast/core";
import { createChance, createNoteRegistry, createSealedDeviceLog } from "@holdfast/testkit";
import { expect, it } from "vitest";
import { silentObserver } from "../telemetry/observer.ts";
import { defineProjection } from "./projection.ts";
import { createReadModels } from "./read-models.ts";

const crypto = createNodeCrypto();
const order = defineProjection<readonly string[]>({
  name: "ordered",
  version: 1,
  types: ["NoteTaken"],
  columns: {},
  fold: (state = [], event) => [...state, event.id],
  row: () => ({}),
});

function replica() {
  const driver = openPlainSqlite({ path: ":memory:", readOnly: false });
  configure(driver);
  createSchema(driver);
  const log = createSqliteEventLog({ crypto, driver });
  const recorded = (position: number, header: Header): RecordedEvent =>
    ({
      position,
      header,
      id: header.id,
      type: header.type,
      recordedAt: header.at,
      known: true,
    }) as RecordedEvent;
  const models = createReadModels({
    driver,
    crypto,
    observer: silentObserver,
    log,
    registry: createNoteRegistry(),
    projections: [order],
    open: ({ position, headerText }) => recorded(position, JSON.parse(headerText) as Header),
    openAppended: ({ position, sealed }) => recorded(position, sealed.header),
  });
  const rebuild = (): void => {
    inTransaction(driver, () => {
      models.beginBuild("ordered");
    });
    while (!inTransaction(driver, () => models.stepBuild("ordered")).done);
  };
  rebuild();
  return { driver, log, models, rebuild };
}

/** Many events of one device, one of another that knows all of them, one of a third that knows that one. */
function chain(length: number) {
  const chance = createChance(1);
  const [first, second, third] = [1, 2, 3].map(() => createSealedDeviceLog({ crypto, chance }));
  const noted = { stream: "s", scope: "scope", type: "NoteTaken", sections: [] };
  const key = (log: typeof first): string => originKey(log?.device ?? "", log?.incarnation ?? "");
  const many = Array.from({ length }, (_, at) => ({
    ...noted,
    streamSequence: at + 1,
    vector: {},
    at: 1_000 + at,
  }));
  return {
    many: many.map((wishes) => first?.batch([wishes])),
    cause: second?.batch([
      { ...noted, streamSequence: 1, vector: { [key(first)]: length }, at: 5_000 },
    ]),
    effect: third?.batch([
      // Its clock is behind: without its cause it stands before everything else.
      { ...noted, streamSequence: 1, vector: { [key(second)]: 1 }, at: 1 },
    ]),
  };
}

it("a cause that arrives behind its effect and a snapshot is folded where it belongs", () => {
  const { many, cause, effect } = chain(300);
  const { driver, log, models, rebuild } = replica();
  for (const batch of [effect, ...many, cause]) {
    if (batch === undefined) throw new Error("every device has sealed");
    expect(inTransaction(driver, () => log.appendWithin(batch, [models])).status).toBe("appended");
  }
  const folded = models.row("ordered", "s");
  const past = models.asOf("ordered", { recorded: 2_000 }, {});
  rebuild();
  expect(folded).toEqual(models.row("ordered", "s"));
  expect((folded?.state as readonly string[] | undefined)?.at(-1)).toBe(
    effect?.events[0]?.header.id,
  );
  expect(past).toEqual(models.asOf("ordered", { recorded: 2_000 }, {}));
  driver.close();
});

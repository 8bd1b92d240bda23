/** What a device records reaches the others once, whatever the path does meanwhile. */
import type { SyncReport, SyncState } from "@holdfast/core";
import { expect, test } from "vitest";
import { converge, inWorld } from "./world.ts";

const notes = (from: number, count: number) =>
  Array.from({ length: count }, (_, at) => ({ n: from + at }));

test("what is recorded offline is delivered when the connection is back", async () => {
  await inWorld({}, async ({ founder, join }) => {
    const other = await join("other");
    other.proxy.choose(() => ({ kind: "refuse" }));
    const { ids } = await other.ask<{ ids: string[] }>("append", { notes: notes(1, 20) });
    const report = await other.ask<SyncReport>("sync");
    expect(report).toMatchObject({ status: "failed", failure: "network_unreachable" });
    const state = await other.ask<SyncState>("state");
    expect(state.watermarks.waiting).toBe(20);
    other.proxy.choose(() => ({ kind: "pass" }));
    await converge([other, founder]);
    expect(await founder.ask("ids")).toEqual(ids);
    expect(await founder.ask("rows")).toEqual(await other.ask("rows"));
    for (const device of [founder, other]) {
      expect(await device.ask("verify")).toMatchObject({ ok: true });
    }
  });
});

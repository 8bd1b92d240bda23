import { createNodeCrypto, openPlainSqlite, systemRandom } from "@holdfast/node";
import {
  createManualClock,
  createNoteDraft as note,
  createNoteRegistry,
  createReferenceServer,
  createTestStore,
} from "@holdfast/testkit";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { lifeOf } from "./grant-store.ts";
import { limits } from "../std/limits.ts";
import type { PushBounds } from "../sync/sync-store.ts";

const folder = mkdtempSync(join(tmpdir(), "holdfast-plan-push-"));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

describe("a plan to push", () => {
  it("takes the opening of a log that the server does not know, whoever has leased it", async () => {
    const crypto = createNodeCrypto();
    const clock = createManualClock();
    const path = join(folder, "store.db");
    const openDriver = (_: Uint8Array, options: { readonly readOnly: boolean }) =>
      openPlainSqlite({ path, ...options });
    const ports = { crypto, random: systemRandom, clock, timers: clock, openDriver };
    const test = await createTestStore(ports);
    const store = await test.open({ registry: createNoteRegistry() });
    const life = lifeOf(store);
    const { tenant } = store.status();
    const server = createReferenceServer({ crypto, tenant, now: () => 1_000 });
    const answer = server.enrol(life.sync.enrolment());
    const { fingerprint } = server;
    await life.sync.enrolled("https://server.test", server.hello(), answer, fingerprint);
    const bounds: PushBounds = { bodies: 64, bytes: limits.pushBytesMax, leaves: 131_072 };

    const first = await life.sync.planPush(bounds);
    expect(first?.request).toMatchObject({ from: 0, entries: [{ kind: "full" }] });
    // The process with that lease dies: nobody else may lease the opening for two minutes.
    life
      .current()
      .driver.exec(
        "UPDATE leases SET name = 'outbox/dead', holder = 'dead' WHERE name GLOB 'outbox/*'",
      );
    await store.append(note("x", "since"));
    const next = await life.sync.planPush(bounds);
    if (next === undefined) throw new Error("nothing to push");
    expect(next.request.entries.map(({ kind }) => kind)).toEqual(["full", "full"]);
    expect(next.positions).toHaveLength(1);
    const outcome = await life.sync.takePush(next, server.push(next.request));
    expect(outcome).toMatchObject({ status: "receipted", delivered: 2 });
    expect(life.sync.watermarks()).toMatchObject({ waiting: 0, owed: [], receiptedSize: 2 });
    await store.close();
  });
});

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createNodeCrypto, openSqlite, systemRandom } from "@holdfast/node";
import { createManualClock, createTestStore } from "@holdfast/testkit";
import { afterAll, expect, it } from "vitest";
import { base64 } from "../std/bytes.ts";
import { tenantScope } from "../sync/invitations.ts";
import { grantStoreOf, lifeOf } from "./grant-store.ts";

const folder = mkdtempSync(join(tmpdir(), "holdfast-access-"));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

it("verify finds rows of access that no event grants, and missing ones; they are made anew", async () => {
  const clock = createManualClock();
  let create = true;
  const test = await createTestStore({
    crypto: createNodeCrypto(),
    random: systemRandom,
    clock,
    timers: clock,
    openDriver(pageKey, { readOnly }) {
      const driver = openSqlite({ path: join(folder, "store.db"), pageKey, readOnly, create });
      create = false;
      return driver;
    },
  });
  const store = await test.open();
  const grants = grantStoreOf(store);
  const hpke = base64(grants.keyring.hpke().publicKey);
  const scope = tenantScope(grants);
  const device = "A".repeat(22);
  const odd = { device: "no id", scopes: ["*"] };
  await expect(grants.append([{ type: "AccessRevoked", pub: odd }])).rejects.toMatchObject({
    code: "draft_invalid",
    details: { path: "/pub/device" },
  });
  await grants.append([
    { type: "AccessGranted", pub: { device, hpke, role: "reader", scopes: [scope] } },
  ]);
  expect(grants.rows()).toMatchObject([{ device, scope, role: "reader", hpke }]);
  expect(store.verify()).toMatchObject({ ok: true });
  const { driver } = lifeOf(store).current();
  driver.exec("DELETE FROM access");
  driver.exec("INSERT INTO access VALUES ('intruder', '*', 'admin', '', '')");
  expect(store.verify().problems).toMatchObject([
    { code: "access_wrong", object: `access of ${device} ${scope}` },
    { code: "access_wrong", object: "access of intruder *" },
  ]);
  await lifeOf(store).transact(({ access }) => {
    access.rebuild();
  });
  expect(store.verify()).toMatchObject({ ok: true });
  await store.close();
});

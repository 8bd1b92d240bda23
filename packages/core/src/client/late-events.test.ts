import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createNodeCrypto, openSqlite, systemRandom, systemTimers } from "@holdfast/node";
import {
  createGrantPost,
  createManualClock,
  createNoteDraft as note,
  createNoteRegistry,
  createReferenceServer,
  createTestStore,
  type GrantPost,
  type ReferenceServer,
} from "@holdfast/testkit";
import { afterAll, expect, it } from "vitest";
import { base64, base64url, type Bytes } from "../std/bytes.ts";
import { exchangeGrants } from "../sync/grant-exchange.ts";
import { grantStoreOf, lifeOf } from "./grant-store.ts";
import { createShredDesk } from "./shred-desk.ts";

const crypto = createNodeCrypto();
const clock = createManualClock();
const folder = mkdtempSync(join(tmpdir(), "holdfast-late-"));
afterAll(() => {
  rmSync(folder, { recursive: true });
});
let files = 0;

async function member(
  post: GrantPost,
  at: { server?: ReferenceServer },
  joins?: { readonly tenant: string; readonly founder: string },
) {
  const path = join(folder, `store-${files++}.db`);
  let create = true;
  const openDriver = (pageKey: Bytes, { readOnly }: { readonly readOnly: boolean }) => {
    const driver = openSqlite({ path, pageKey, readOnly, create });
    create = false;
    return driver;
  };
  const ports = { crypto, random: systemRandom, clock, timers: systemTimers, openDriver };
  const test = await createTestStore(ports, joins);
  const store = await test.open({ registry: createNoteRegistry() });
  const grants = grantStoreOf(store);
  const hpke = base64(grants.keyring.hpke().publicKey);
  const { tenant } = store.status();
  at.server ??= createReferenceServer({ crypto, tenant, now: () => clock.now() });
  const { server } = at;
  const { sync } = lifeOf(store);
  const answer = server.enrol(sync.enrolment());
  await sync.enrolled("https://server.test", server.hello(), answer, server.fingerprint);
  const transport = post.transport(base64url(grants.keyring.hpke().publicKey));
  return {
    store,
    grants,
    hpke,
    device: grants.device(),
    exchange: () => exchangeGrants(grants, transport, "token"),
    async push() {
      for (;;) {
        const plan = await sync.planPush({ bodies: 1_000, bytes: 1_000_000, leaves: 1_000 });
        if (plan === undefined) return;
        await sync.takePush(plan, server.push(plan.request));
      }
    },
    async pull() {
      for (;;) {
        const request = sync.planPull({ events: 1_000, bytes: 4_000_000 });
        if (request === undefined) return;
        const page = server.pull(grants.device(), request);
        const outcome = await sync.takePull(request, page);
        if (outcome.status !== "stored") throw new Error(outcome.status);
        if (!outcome.more) return;
      }
    },
  };
}

it("late events come without content, and late grants not at all, where the server hides nothing", async () => {
  const [post, at] = [createGrantPost(), {}];
  const founder = await member(post, at);
  const joins = { tenant: founder.store.status().tenant, founder: founder.device };
  const other = await member(post, at, joins);
  const access = ({ device, hpke }: typeof founder) => ({
    type: "AccessGranted" as const,
    pub: { device, hpke, role: "admin" as const, scopes: ["*"] },
  });
  await founder.grants.append([access(founder), access(other)]);
  const both = [founder, other];
  const settle = async (): Promise<void> => {
    for (const one of [...both, ...both, ...both]) {
      await one.push();
      await one.pull();
      await one.exchange();
      await one.push();
    }
  };
  await settle();
  await founder.store.append(note("ada/1", "Frueher Vogel", { scope: "ada" }));
  await settle();
  const scope = founder.store.scopeId("ada");

  // Offline, with a key of its own; that key is granted before its device hears of the shred.
  await other.store.append(note("ada/2", "Spaeter Vogel", { scope: "ada" }));
  const keys = other.grants.keyring.dataKeys().filter((one) => one.scope === scope);
  expect(keys).toHaveLength(2);
  const desk = createShredDesk(founder.store);
  const by = (actor: string) => ({ actor, why: "erasure-asked" });
  const shred = await desk.request({ ...by("officer"), scopes: [scope] });
  await desk.approve(shred, by("officer"));
  await desk.approve(shred, by("director"));
  await other.exchange();
  await other.push();
  await founder.pull();
  expect(await founder.exchange()).toMatchObject({ received: 0, refused: 1 });
  const late = founder.store.read({ stream: "ada/2" });
  expect(late.map(({ content, data }) => [content, data])).toEqual([["shredded", undefined]]);
  const { keyring } = founder.grants;
  expect(keyring.dataKeys().filter((one) => one.scope === scope)).toEqual([]);

  // Then it hears of it, and destroys what it made.
  await founder.push();
  await other.pull();
  await lifeOf(other.store).shredding.goOn();
  expect(other.grants.keyring.dataKeys().filter((one) => one.scope === scope)).toEqual([]);
  expect(other.store.read({ type: "NoteTaken" }).map(({ content }) => content)).toEqual([
    "shredded",
    "shredded",
  ]);
  // It held a key that was granted, so it waits for access under its new HPKE key.
  expect(createShredDesk(other.store).list()).toMatchObject([{ here: { [scope]: "cleaned" } }]);
  await expect(other.store.append(note("ada/3", "Wieder da", { scope }))).rejects.toMatchObject({
    code: "scope_shredded",
  });
  for (const { store } of both) {
    expect(store.verify().problems).toEqual([]);
    await store.close();
  }
});

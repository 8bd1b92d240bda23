/** Founding, inviting, joining and revoking: real stores, over HTTP, against the real server. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  createAuthorizer,
  createHttpTransport,
  enrol,
  type EnrolmentCode,
  exchangeGrants,
  grantStoreOf,
  type Holdfast,
  invite,
  isHoldfastError,
  parseEnrolmentCode,
  silentObserver,
  syncStoreOf,
  type Transport,
  withdrawAccess,
} from "@holdfast/core";
import {
  createNodeHttp,
  initStore,
  openStore,
  systemClock,
  systemRandom,
  systemTimers,
} from "@holdfast/node";
import { createNoteDraft as note, createNoteRegistry } from "@holdfast/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { crypto, foundingCode, startRunningApi, type TestApi } from "../server/lab.ts";

const folder = mkdtempSync(join(tmpdir(), "holdfast-join-"));
const passphrase = "correct horse battery staple";
const http = createNodeHttp();
const open: Holdfast[] = [];
let api: TestApi;

beforeAll(async () => {
  api = await startRunningApi();
});
afterAll(async () => {
  for (const store of open) await store.close();
  http.close();
  await api.close();
  rmSync(folder, { recursive: true });
});

async function storeIn(name: string, joins?: EnrolmentCode["joins"]): Promise<Holdfast> {
  const place = { directory: join(folder, name), stateDirectory: join(folder, `${name}-state`) };
  await initStore({
    ...place,
    passphrase,
    tenant: "Ward 3",
    ...(joins !== undefined && { joins }),
  });
  const registry = createNoteRegistry();
  const store = await openStore({ ...place, passphrase, registry, projections: [] });
  open.push(store);
  return store;
}

function enrolAt(store: Holdfast, code: EnrolmentCode, transport: Transport = transportOf()) {
  const grants = grantStoreOf(store);
  return enrol({ crypto, store: syncStoreOf(store), grants, transport }, code);
}

const transportOf = (): Transport => createHttpTransport({ http }, api.url);
const never = {
  aborted: false,
  addEventListener: () => undefined,
  removeEventListener: () => undefined,
};

function tokenFor(store: Holdfast, transport: Transport): Promise<string> {
  const authorizer = createAuthorizer({
    store: syncStoreOf(store),
    transport,
    clock: systemClock,
    timers: systemTimers,
    random: systemRandom,
    observer: silentObserver,
    greeted: () => undefined,
    closed: never,
  });
  return authorizer.token(never);
}

/** Pushes, pulls, exchanges keys, and pushes what that appended. */
async function syncOnce(store: Holdfast): Promise<void> {
  const transport = transportOf();
  const sync = syncStoreOf(store);
  const token = await tokenFor(store, transport);
  const push = async (): Promise<void> => {
    for (;;) {
      const plan = await sync.planPush({ bodies: 1_000, bytes: 1_000_000, leaves: 1_000 });
      if (plan === undefined) return;
      await sync.takePush(plan, await transport.push(plan.request, { token }));
    }
  };
  await push();
  for (;;) {
    const request = sync.planPull({ events: 1_000, bytes: 4_000_000 });
    if (request === undefined) break;
    const outcome = await sync.takePull(request, await transport.pull(request, { token }));
    if (outcome.status !== "stored") throw new Error(outcome.status);
    if (!outcome.more) break;
  }
  await exchangeGrants(grantStoreOf(store), transport, token);
  await push();
}

async function codeOf(run: () => unknown): Promise<string> {
  try {
    await run();
    return "nothing was thrown";
  } catch (error) {
    return isHoldfastError(error) ? error.code : String(error);
  }
}

const textsOf = (store: Holdfast): readonly string[] =>
  store
    .read({ type: "NoteTaken" })
    .map(({ content, data }) => (content === "opened" ? (data as { text: string }).text : content));

describe("a tenant over HTTP", () => {
  it("is founded, admits a device with one scope, and lets it go", async () => {
    const founder = await storeIn("founder");
    const founding = parseEnrolmentCode(await foundingCode(api));
    // An answer that is lost, and the same code again.
    const real = transportOf();
    const losing: Transport = {
      ...real,
      enrol: async (request, options) => {
        await real.enrol(request, options);
        throw new Error("lost");
      },
    };
    await expect(enrolAt(founder, founding, losing)).rejects.toThrow("lost");
    expect(await enrolAt(founder, founding)).toMatchObject({
      role: "admin",
      founder: founder.status().device,
    });
    await founder.append([
      note("a", "of ada", { scope: "ada" }),
      note("b", "of bob", { scope: "bob" }),
    ]);
    await syncOnce(founder);

    const transport = transportOf();
    const token = await tokenFor(founder, transport);
    const at = { url: api.url, hello: await transport.hello({}) };
    const terms = { role: "device", scopes: [founder.scopeId("ada")], lifeMs: 3_600_000 } as const;
    const text = await invite(grantStoreOf(founder), transport, { token }, at, terms);
    const code = parseEnrolmentCode(text);
    const joiner = await storeIn("joiner", code.joins);
    expect(await enrolAt(joiner, code)).toMatchObject({ role: "device" });
    // Used up, for anybody else.
    const late = await storeIn("late", code.joins);
    expect(await codeOf(() => enrolAt(late, code))).toBe("enrol_code_refused");

    await syncOnce(joiner);
    expect(await codeOf(() => joiner.append(note("a", "x")))).toBe("pseudonym_key_awaited");
    await syncOnce(founder);
    await syncOnce(joiner);
    await syncOnce(joiner);
    expect(textsOf(joiner)).toEqual(["of ada"]);
    await joiner.append(note("a", "by the joiner", { scope: "ada" }));
    await syncOnce(joiner);
    await syncOnce(founder);
    expect(textsOf(founder).toSorted()).toEqual(["by the joiner", "of ada", "of bob"]);
    for (const store of [founder, joiner]) {
      expect(store.verify()).toMatchObject({ ok: true, problems: [] });
    }

    const { device } = joiner.status();
    await withdrawAccess(grantStoreOf(founder), device, "left");
    await transport.revoke({ device, why: "left" }, { token });
    await founder.append(note("a", "after", { scope: "ada" }));
    await syncOnce(founder);
    expect(await codeOf(() => syncOnce(joiner))).not.toBe("nothing was thrown");
    expect(textsOf(joiner)).not.toContain("after");
  });

  it("is refused to codes of another server, another tenant, another time", async () => {
    const store = await storeIn("alone");
    const code = parseEnrolmentCode(await foundingCode(api));
    const other = { tenant: "A".repeat(22), founder: "B".repeat(22) };
    expect(await codeOf(() => enrolAt(store, { ...code, joins: other }))).toBe(
      "enrol_tenant_mismatch",
    );
    expect(await codeOf(() => enrolAt(store, { ...code, key: "A".repeat(43) }))).toBe(
      "enrol_server_mismatch",
    );
    expect(await codeOf(() => enrolAt(store, { ...code, expires: 0 }))).toBe("enrol_code_expired");
    const foreign = { tenant: store.status().tenant, founder: "B".repeat(22) };
    expect(await codeOf(() => enrolAt(store, { ...code, joins: foreign }))).toBe(
      "enrol_founder_mismatch",
    );
    expect(syncStoreOf(store).server()).toBeUndefined();
  });
});

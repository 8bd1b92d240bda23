import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createNodeCrypto, openSqlite, systemRandom } from "@holdfast/node";
import {
  type AccessStep,
  createAccessModel,
  createGrantPost,
  createManualClock,
  createNoteDraft as note,
  createNoteRegistry,
  createRecordingObserver,
  createReferenceServer,
  createTestStore,
  type GrantPost,
  type ReferenceServer,
  type TestStore,
} from "@holdfast/testkit";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import type { Projection } from "../projection/projection.ts";
import { base64, base64url, type Bytes, fromUtf8, utf8 } from "../std/bytes.ts";
import { isHoldfastError } from "../std/errors.ts";
import { deviceBinding, parseEnrolmentCode } from "../sync/enrolment-code.ts";
import { exchangeGrants, type GrantReport } from "../sync/grant-exchange.ts";
import type { AccessDraft, GrantStore } from "../sync/grant-store.ts";
import { invite, noteNode, withdrawAccess } from "../sync/invitations.ts";
import type { EnrolledDevice } from "../sync/messages/enrol.ts";
import { grantStoreOf, lifeOf } from "./grant-store.ts";
import type { Holdfast } from "./holdfast.ts";

const crypto = createNodeCrypto();
const folder = mkdtempSync(join(tmpdir(), "holdfast-grants-"));
afterAll(() => {
  rmSync(folder, { recursive: true });
});
let files = 0;

const registry = createNoteRegistry();
const notes: Projection<{ readonly texts: readonly string[] }> = {
  name: "notes",
  version: 1,
  types: ["NoteTaken"],
  columns: { count: "integer" },
  fold: (state, event) => ({
    texts: [...(state?.texts ?? []), (event.data as { text: string }).text],
  }),
  row: ({ texts }) => ({ count: texts.length }),
};

interface Member {
  readonly test: TestStore;
  readonly store: Holdfast;
  readonly grants: GrantStore;
  readonly device: string;
  readonly hpke: string;
  readonly observer: ReturnType<typeof createRecordingObserver>;
  readonly server: ReferenceServer;
  exchange(): Promise<GrantReport>;
}

const clock = createManualClock();

const servers = new WeakMap<GrantPost, ReferenceServer>();

/** A store that is enrolled at the server of that post; the first one founds the tenant. */
async function member(
  post: GrantPost,
  joins?: { readonly tenant: string; readonly founder: string },
): Promise<Member> {
  const path = join(folder, `store-${files++}.db`);
  let create = true;
  const openDriver = (pageKey: Bytes, { readOnly }: { readonly readOnly: boolean }) => {
    const driver = openSqlite({ path, pageKey, readOnly, create });
    create = false;
    return driver;
  };
  const ports = { crypto, random: systemRandom, clock, timers: clock, openDriver };
  const test = await createTestStore(ports, joins);
  const observer = createRecordingObserver();
  const store = await test.open({ registry, observer, projections: [notes] });
  const grants = grantStoreOf(store);
  const hpke = base64url(grants.keyring.hpke().publicKey);
  const transport = post.transport(hpke);
  const { tenant } = store.status();
  const server =
    servers.get(post) ?? createReferenceServer({ crypto, tenant, now: () => clock.now() });
  servers.set(post, server);
  const { sync } = lifeOf(store);
  const answer = server.enrol(sync.enrolment());
  await sync.enrolled("https://server.test", server.hello(), answer, server.fingerprint);
  return {
    server,
    test,
    store,
    grants,
    device: grants.device(),
    hpke,
    observer,
    exchange: () => exchangeGrants(grants, transport, "token"),
  };
}

/** Brings every event of one store into another, with all frames: only keys are kept apart. */
async function pour(from: Member, to: Member): Promise<void> {
  const { server } = from;
  const [source, target] = [lifeOf(from.store).sync, lifeOf(to.store).sync];
  for (;;) {
    const plan = await source.planPush({ bodies: 1_000, bytes: 1_000_000, leaves: 1_000 });
    if (plan === undefined) break;
    await source.takePush(plan, server.push(plan.request));
  }
  for (;;) {
    const request = target.planPull({ events: 1_000, bytes: 4_000_000 });
    if (request === undefined) return;
    const outcome = await target.takePull(request, server.pull(to.device, request));
    if (outcome.status !== "stored") throw new Error(outcome.status);
    if (!outcome.more) return;
  }
}

/** Everybody gets every event, and exchanges keys, until nothing moves. */
async function syncAll(members: readonly Member[]): Promise<void> {
  for (let round = 0; round < 8; round++) {
    let moved = 0;
    for (const one of members) {
      for (const other of members) if (other !== one) await pour(other, one);
      const { received, sent, appended } = await one.exchange();
      moved += received + sent + appended;
    }
    if (moved === 0) return;
  }
  throw new Error("the exchange does not come to rest");
}

async function closeAll(members: readonly Member[]): Promise<void> {
  for (const { store } of members) await store.close();
}

const textsOf = ({ store }: Member): readonly (string | undefined)[] =>
  store
    .read({ type: "NoteTaken" })
    .map(({ content, data }) => (content === "opened" ? (data as { text: string }).text : content));

const problemsOf = ({ store }: Member): readonly string[] =>
  store.verify().problems.map(({ code, object }) => `${code} ${object}`);

function hello() {
  return { key: base64(utf8("the server's key")), time: clock.now() };
}

async function invited(
  admin: Member,
  post: GrantPost,
  role: "device" | "admin",
  scopes: readonly string[],
) {
  const at = { url: "https://sync.example.org", hello: hello() };
  const transport = post.transport(admin.hpke);
  return invite(admin.grants, transport, { token: "t" }, at, { role, scopes, lifeMs: 60_000 });
}

/** What a server lists of a device that came with that code. */
function enrolledWith(joiner: Member, text: string, post: GrantPost): EnrolledDevice {
  const [opening] = joiner.grants.openings(joiner.device);
  const code = parseEnrolmentCode(text);
  return {
    device: joiner.device,
    role: "device",
    status: "active",
    enrolledAt: clock.now(),
    code: post.codes.at(-1) ?? "",
    binding: deviceBinding(crypto, code.secret, opening ?? ""),
    logs: [{ incarnation: "", size: 1, receivedAt: clock.now(), opening: opening ?? "" }],
  };
}

/** A founder and devices that it has let in, each for those scopes, in words. */
async function tenantOf(...scopes: readonly (readonly string[])[]) {
  const post = createGrantPost();
  const founder = await member(post);
  const members = [founder];
  await syncAll(members);
  for (const words of scopes) {
    const ids = words.map((word) => (word === "*" ? "*" : founder.store.scopeId(word)));
    const text = await invited(founder, post, "device", ids);
    const { joins } = parseEnrolmentCode(text);
    const joiner = await member(post, joins);
    members.push(joiner);
    post.devices.push(enrolledWith(joiner, text, post));
  }
  await syncAll(members);
  return { post, founder, members, joiners: members.slice(1) as [Member, ...Member[]] };
}

async function codeOf(run: () => unknown): Promise<string> {
  try {
    await run();
    return "nothing was thrown";
  } catch (error) {
    return isHoldfastError(error) ? error.code : String(error);
  }
}

describe("joining a tenant", () => {
  it("gets the pseudonym key and opens what its scopes allow, also what was pulled before", async () => {
    const { founder, members, joiners } = await tenantOf(["ada"], ["*"]);
    const [one, all] = joiners as [Member, Member];
    expect(one.grants.keyring.hasPseudonymKey).toBe(true);
    expect(one.store.scopeId("ada")).toBe(founder.store.scopeId("ada"));
    await founder.store.append(note("a", "of ada", { scope: "ada" }));
    await founder.store.append(note("b", "of bob", { scope: "bob" }));
    // The events are here before their keys.
    await pour(founder, one);
    expect(textsOf(one)).toEqual(["closed", "closed"]);
    expect(one.store.query("notes")).toEqual([]);
    await syncAll(members);
    expect(textsOf(one)).toEqual(["of ada", "closed"]);
    expect(one.store.query("notes").map(({ state }) => state)).toEqual([{ texts: ["of ada"] }]);
    expect(textsOf(all)).toEqual(["of ada", "of bob"]);
    // What a device records in a scope of its own is the founder's to read, and nobody's without access.
    await one.store.append(note("a", "by one", { scope: "ada" }));
    await one.store.append(note("c", "its own", { scope: "eve" }));
    await syncAll(members);
    expect(textsOf(founder).toSorted()).toEqual(["by one", "its own", "of ada", "of bob"]);
    for (const each of members) expect(problemsOf(each)).toEqual([]);
    expect(one.observer.total("grants_received", { result: "taken" })).toBeGreaterThan(0);
    await closeAll(members);
  });

  it("shows every device the same access", async () => {
    const { founder, members } = await tenantOf(["ada"], ["*"]);
    const rows = founder.grants.rows();
    expect(rows.length).toBe(1 + 2 + 1);
    for (const { grants } of members) expect(grants.rows()).toEqual(rows);
    await closeAll(members);
  });

  it("admits nobody on the server's word", async () => {
    const post = createGrantPost();
    const founder = await member(post);
    await founder.exchange();
    const text = await invited(founder, post, "device", ["*"]);
    const { joins } = parseEnrolmentCode(text);
    const [joiner, other] = [await member(post, joins), await member(post, joins)];
    const right = enrolledWith(joiner, text, post);
    const admitted = async (listed: EnrolledDevice): Promise<number> => {
      post.devices.splice(0, Infinity, listed);
      await founder.exchange();
      return founder.grants.rows().length - 1;
    };
    // Nothing of the device was pulled yet.
    expect(await admitted(right)).toBe(0);
    await pour(joiner, founder);
    await pour(other, founder);
    const [foreign] = other.grants.openings(other.device);
    const log = right.logs[0];
    if (log === undefined || foreign === undefined) throw new Error("openings are there");
    // Another device's opening under the binding, another device's name, another code, a revoked one.
    expect(await admitted({ ...right, logs: [{ ...log, opening: foreign }] })).toBe(0);
    expect(await admitted({ ...right, device: other.device })).toBe(0);
    expect(await admitted({ ...right, code: "A".repeat(43) })).toBe(0);
    expect(await admitted({ ...right, binding: "A".repeat(43) })).toBe(0);
    expect(await admitted({ ...right, status: "revoked" })).toBe(0);
    expect(await admitted(right)).toBe(1);
    // An invitation lets one device in.
    expect(await admitted({ ...enrolledWith(other, text, post) })).toBe(1);
    await closeAll([founder, joiner, other]);
  });

  it("lets admins alone invite and withdraw", async () => {
    const { post, founder, joiners } = await tenantOf(["*"]);
    const [joiner] = joiners;
    expect(await codeOf(() => invited(joiner, post, "device", ["*"]))).toBe("access_denied");
    expect(await codeOf(() => withdrawAccess(joiner.grants, founder.device, "left"))).toBe(
      "access_denied",
    );
    expect(await codeOf(() => invited(founder, post, "device", ["ada"]))).toBe("query_invalid");
    expect(await codeOf(() => invited(founder, post, "device", []))).toBe("query_invalid");
    await closeAll([founder, joiner]);
  });

  it("grants the server's node like any other device, when it may read", async () => {
    for (const reads of ["granted", "none"] as const) {
      const post = createGrantPost();
      const founder = await member(post);
      const tenant = { tenant: founder.store.status().tenant, founder: founder.device };
      const node = await member(post, tenant);
      await noteNode(founder.grants, node.device, reads);
      await founder.store.append(note("a", "of ada", { scope: "ada" }));
      await syncAll([founder, node]);
      expect(textsOf(node)).toEqual([reads === "granted" ? "of ada" : "closed"]);
      expect(node.grants.keyring.hasPseudonymKey).toBe(reads === "granted");
      await closeAll([founder, node]);
    }
  });
});

describe("revoking", () => {
  it("seals what comes later under a key that the device does not get", async () => {
    const { founder, members, joiners } = await tenantOf(["ada"], ["ada"]);
    const [gone, stays] = joiners as [Member, Member];
    await founder.store.append(note("a", "before", { scope: "ada" }));
    await stays.store.append(note("b", "before too", { scope: "ada" }));
    await syncAll(members);
    expect(textsOf(gone).toSorted()).toEqual(["before", "before too"]);
    await withdrawAccess(founder.grants, gone.device, "left");
    await founder.store.append(note("a", "after", { scope: "ada" }));
    await syncAll(members);
    await stays.store.append(note("b", "after too", { scope: "ada" }));
    await syncAll(members);
    expect(textsOf(gone).toSorted()).toEqual(["before", "before too", "closed", "closed"]);
    const all = ["after", "after too", "before", "before too"];
    expect(textsOf(stays).toSorted()).toEqual(all);
    expect(textsOf(founder).toSorted()).toEqual(all);
    expect(founder.grants.rows().some(({ device }) => device === gone.device)).toBe(false);
    const states = founder.grants.grants().filter(({ recipient }) => recipient === gone.device);
    expect(states.every(({ state }) => state === "withdrawn")).toBe(true);
    for (const each of members) expect(problemsOf(each)).toEqual([]);
    await closeAll(members);
  });
});

describe("grants on their way", () => {
  it("refuses tampered and foreign ones, and takes none that the log does not name", async () => {
    const { post, founder, members, joiners } = await tenantOf(["*"], ["*"]);
    const [one, two] = joiners as [Member, Member];
    await founder.store.append(note("a", "text", { scope: "ada" }));
    await founder.exchange();
    await pour(founder, one);
    const due = post.grants.filter(({ grant }) => grant.includes('"kind":"data"'));
    const mine = due.find(({ grant }) => grant.includes(`"to":"${one.hpke}"`));
    const hers = due.find(({ grant }) => grant.includes(`"to":"${two.hpke}"`));
    if (mine === undefined || hers === undefined) throw new Error("both were granted");
    const right = mine.grant;
    const keys = one.grants.keyring.dataKeys().length;
    const tampered = (text: string): string => {
      const at = text.indexOf('"ct":"') + 6;
      return text.slice(0, at) + (text[at] === "A" ? "B" : "A") + text.slice(at + 1);
    };
    const results = (): readonly unknown[] =>
      one.observer.seen
        .flatMap((seen) =>
          seen.kind === "count" && seen.metric === "grants_received" ? [seen.labels] : [],
        )
        .slice(-1);
    for (const [text, code] of [
      ["{", undefined],
      [tampered(right), "grant_open_failed"],
      [`${right.slice(0, -1)},"x":"to":"${one.hpke}"}`, "grant_malformed"],
      [right.replace(/"tenant":"[^"]*"/, '"tenant":"another"'), "grant_foreign"],
      [hers.grant.replace(`"to":"${two.hpke}"`, `"to":"${one.hpke}"`), "grant_open_failed"],
    ] as const) {
      post.grants.push({ number: post.grants.length + 1, grant: text });
      mine.grant = "taken away";
      const report = await one.exchange();
      expect(report).toMatchObject({ received: 0, refused: code === undefined ? 0 : 1 });
      if (code !== undefined) expect(results()).toEqual([{ result: code }]);
    }
    // A key that opens and that no event names: it waits and is not taken.
    const { wrapGrant } = await import("../keys/grant.ts");
    const made = { kind: "pseudonym", key: systemRandom.bytes(32) } as const;
    const { keyring } = one.grants;
    const forged = await wrapGrant(made, keyring.tenant, keyring.hpke().publicKey, systemRandom);
    post.grants.push({ number: post.grants.length + 1, grant: fromUtf8(forged) });
    expect(await one.exchange()).toMatchObject({ received: 0, refused: 0, pending: 1 });
    expect(one.grants.keyring.dataKeys().length).toBe(keys);
    expect(textsOf(one)).toEqual(["closed"]);
    // The right one, once and again.
    for (const _ of [1, 2]) post.grants.push({ number: post.grants.length + 1, grant: right });
    expect(await one.exchange()).toMatchObject({ received: 1, refused: 0, pending: 1 });
    expect(results()).toEqual([{ result: "known" }]);
    expect(textsOf(one)).toEqual(["text"]);
    await closeAll(members);
  });

  it("wait for the event that names them", async () => {
    const { founder, members, joiners } = await tenantOf(["*"]);
    const [one] = joiners;
    await founder.store.append(note("a", "text", { scope: "ada" }));
    await pour(founder, one);
    await founder.exchange();
    expect(await one.exchange()).toMatchObject({ received: 0, pending: 1 });
    await pour(founder, one);
    expect(await one.exchange()).toMatchObject({ received: 1, pending: 0 });
    expect(textsOf(one)).toEqual(["text"]);
    await closeAll(members);
  });

  it("go on with the same text after a failure at any call", async () => {
    const { post, founder, members, joiners } = await tenantOf(["*"]);
    const [one] = joiners;
    await founder.store.append(note("a", "text", { scope: "ada" }));
    const transport = post.transport(founder.hpke);
    const failing = { ...transport, sendGrants: () => Promise.reject(new Error("lost")) };
    for (let time = 0; time < 2; time++) {
      await expect(exchangeGrants(founder.grants, failing, "t")).rejects.toThrow("lost");
    }
    expect(await founder.exchange()).toMatchObject({ sent: 1, appended: 0 });
    const named = founder.store.read({ type: "KeyGranted" }).length;
    expect(await founder.exchange()).toMatchObject({ sent: 0, appended: 0 });
    expect(founder.store.read({ type: "KeyGranted" }).length).toBe(named);
    await pour(founder, one);
    expect(await one.exchange()).toMatchObject({ received: 1 });
    await closeAll(members);
  });

  it("are not repeated by others who hold the key", async () => {
    const { post, founder, members, joiners } = await tenantOf(["*"], ["*"]);
    await founder.store.append(note("a", "text", { scope: "ada" }));
    await syncAll(members);
    const names = post.grants.map(({ grant }) => {
      const { to, id } = JSON.parse(grant) as { readonly to: string; readonly id?: string };
      return `${to} ${id ?? ""}`;
    });
    expect(new Set(names).size).toBe(names.length);
    expect(names.length).toBe(joiners.length * 2);
    await closeAll(members);
  });
});

const scopeWords = ["ada", "bob"];
const steps: fc.Arbitrary<readonly AccessStep[]> = fc.array(
  fc.oneof(
    fc.record({
      act: fc.constantFrom("grant" as const, "revoke" as const),
      device: fc.constantFrom(1 as const, 2 as const),
      scope: fc.constantFrom("*", ...scopeWords),
    }),
    fc.record({
      act: fc.constant("record" as const),
      device: fc.constantFrom(0 as const, 1 as const, 2 as const),
      scope: fc.constantFrom(...scopeWords),
    }),
    fc.record({
      act: fc.constant("intrude" as const),
      device: fc.constantFrom(1 as const, 2 as const),
    }),
  ),
  { minLength: 3, maxLength: 10 },
);

async function act(members: readonly Member[], step: AccessStep, text: string): Promise<void> {
  const [founder] = members as [Member];
  const subject = members[step.device] as Member;
  const { device } = subject;
  const idOf = (word: string): string => (word === "*" ? "*" : founder.store.scopeId(word));
  if (step.act === "record") {
    await subject.store.append(note(`${step.scope}/${text}`, text, { scope: step.scope }));
    return;
  }
  const key = base64(subject.grants.keyring.hpke().publicKey);
  const granted = (scopes: readonly string[], role: "device" | "admin"): AccessDraft => ({
    type: "AccessGranted",
    pub: { device, hpke: key, role, scopes },
  });
  if (step.act === "intrude") await subject.grants.append([granted(["*"], "admin")]);
  else if (step.act === "grant")
    await founder.grants.append([granted([idOf(step.scope)], "device")]);
  else {
    await withdrawAccess(founder.grants, device, "left", [idOf(step.scope)]);
  }
}

describe("any sequence of access and records", () => {
  it("opens to each device exactly what the model says", async () => {
    await fc.assert(
      fc.asyncProperty(steps, async (sequence) => {
        const { founder, members } = await tenantOf(["carol"], ["carol"]);
        // Both begin with the pseudonym key and with access to nothing that is recorded below.
        const model = createAccessModel();
        for (const [at, step] of sequence.entries()) {
          const text = `text ${at}`;
          await act(members, step, text);
          model.apply(step, text);
          await syncAll(members);
          model.settle();
          clock.advance(1);
        }
        for (const [device, one] of members.entries()) {
          const opened = new Set(textsOf(one));
          for (const { text } of model.recorded) {
            expect([device, text, opened.has(text)]).toEqual([
              device,
              text,
              model.mayOpen(device, text),
            ]);
          }
          expect(one.grants.rows()).toEqual(founder.grants.rows());
          expect(problemsOf(one)).toEqual([]);
        }
        await closeAll(members);
      }),
      { numRuns: 12 },
    );
  });
});

/** A shred at the server: in force by two actors' events, then nothing of its content is there or handed out. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { canonicalJson, fromBase64, type PullPage, type PullRequest } from "@holdfast/core";
import { createNodeCrypto, openPlainSqlite } from "@holdfast/node";
import {
  callerOf,
  createPseudonym,
  createTestEngine,
  type EventWishes,
  type PushingDevice,
  rawOf,
  type TestEngine,
} from "@holdfast/testkit";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createSqliteServerStore } from "../sqlite-server-store.ts";
import { decodeFrames } from "../ingest/frames.ts";
import { grantRecipient } from "../reading/grants.ts";

const crypto = createNodeCrypto();
let here: TestEngine;
let folder: string;
let stream: string;
let ada: string;
let bob: string;
let shred: string;
let actors: readonly [string, string];
/** Number of the last event of the access stream. */
let last: number;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-shred-"));
  const path = join(folder, "server.db");
  const driver = openPlainSqlite({ path, readOnly: false });
  // As a server has it: what is read beside a write is what was committed before.
  const reader = openPlainSqlite({ path, readOnly: false });
  here = await createTestEngine(createSqliteServerStore({ crypto, driver, reader }), { crypto });
  const pseudonym = (): string => createPseudonym(here.chance);
  [stream, ada, bob, shred] = [pseudonym(), pseudonym(), pseudonym(), pseudonym()];
  actors = [pseudonym(), pseudonym()];
  last = 0;
});
afterEach(async () => {
  await here.close();
  rmSync(folder, { recursive: true });
});

const content = [{ name: "content", plaintext: new Uint8Array(40) }];
const said = (type: string, pub: NonNullable<EventWishes["pub"]>, actor: string): EventWishes => ({
  type,
  op: "shred",
  sections: [],
  stream,
  streamSequence: ++last,
  at: last,
  pub,
  actor,
});
const recorded = (scope: string): EventWishes => ({ scope, sections: content });
const asked = (section?: string): EventWishes =>
  said("ShredRequested", { shred, scopes: [ada], ...(section && { section }) }, actors[0]);
const approved = (actor: string): EventWishes => said("ShredApproved", { shred }, actor);
/** The first event of the access stream. */
const founding = (): EventWishes => ({
  ...said("AccessGranted", granted(here.founder), actors[0]),
  op: "access",
});
const granted = ({ device, hpke }: PushingDevice) => ({
  device,
  hpke,
  role: "admin",
  scopes: ["*"],
});

const everything: PullRequest = {
  scopes: "*",
  after: 0,
  events: 1_000,
  bytes: 1_000_000,
  checkpoint: 0,
  held: {},
  own: true,
};

/** States of the frames of a scope's events, as they are pulled. */
async function statesIn(scope: string): Promise<readonly string[]> {
  const page: PullPage = await here.server.pull(callerOf(here.founder), everything);
  return page.events
    .filter(({ body }) => body.header.includes(`"scope":"${scope}"`))
    .flatMap(({ body }) => body.frames.map(({ state, bytes }) => `${state} ${bytes?.length ?? 0}`));
}

/** States of the frames of a scope's events, as they are kept. */
async function keptIn(scope: string): Promise<readonly string[]> {
  const events = await here.reads.events(here.tenant, [scope], 0, 1_000);
  return events.flatMap(({ frames }) => decodeFrames(frames).map(({ state }) => state));
}

async function shredded(): Promise<void> {
  for (;;) {
    const left = await here.reads.unfinishedShreds(here.tenant);
    if (left.length === 0) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

test("takes frames away once two actors approved, of that scope alone", async () => {
  here.founder.record([founding(), recorded(ada), recorded(bob), recorded(ada), asked()]);
  here.founder.record([approved(actors[0]), approved(actors[0])]);
  await here.receipted(here.founder, 0);
  expect(await here.reads.shreds(here.tenant, [ada])).toEqual([]);
  expect(await keptIn(ada)).toEqual(["present", "present"]);

  const size = here.founder.events.length;
  here.founder.record([approved(actors[1])]);
  await here.receipted(here.founder, size);
  // What is not gone yet is seen by nobody.
  expect(await statesIn(ada)).toEqual(["shredded 0", "shredded 0"]);
  await shredded();
  expect(await here.reads.shreds(here.tenant, [ada, bob])).toEqual([
    { scope: ada, section: "", shred },
  ]);
  expect(await keptIn(ada)).toEqual(["shredded", "shredded"]);
  expect(await keptIn(bob)).toEqual(["present"]);
});

test("accepts a late event without its shredded sections", async () => {
  here.founder.record([founding(), asked("content"), approved(actors[0]), approved(actors[1])]);
  await here.receipted(here.founder, 0);
  const late = await here.join();
  late.record([
    {
      scope: ada,
      sections: [...content, { name: "identity", plaintext: new Uint8Array(9) }],
    },
  ]);
  const { dispositions, owed } = await here.receipted(late, 0);
  expect(dispositions).toContainEqual({ index: 1, disposition: "accepted-shredded" });
  expect(owed).toEqual([]);
  expect((await keptIn(ada)).toSorted()).toEqual(["present", "shredded"]);
});

test("holds nothing to be in force that no admin said, or that a hold forbids", async () => {
  const other = await here.join();
  other.record([recorded(ada), asked(), approved(actors[0]), approved(actors[1])]);
  const { dispositions } = await here.receipted(other, 0);
  expect(dispositions.filter(({ code }) => code === "role_insufficient")).toHaveLength(3);
  const hold = createPseudonym(here.chance);
  here.founder.record([
    founding(),
    said("HoldPlaced", { hold, scopes: [ada] }, actors[0]),
    asked(),
    approved(actors[0]),
    approved(actors[1]),
  ]);
  await here.receipted(here.founder, 0);
  expect(await statesIn(ada)).toEqual([expect.stringMatching(/^present/)]);
  const size = here.founder.events.length;
  here.founder.record([said("HoldLifted", { hold }, actors[1])]);
  await here.receipted(here.founder, size);
  await shredded();
  expect(await keptIn(ada)).toEqual(["shredded"]);
});

test("is put in force by whatever comes late and stands before it: as on every replica", async () => {
  const other = await here.join("admin");
  const [first, second] = actors;
  here.founder.record([founding(), recorded(ada), asked(), approved(first)]);
  await here.receipted(here.founder, 0);
  // The second approval is of a device that, where it stands, is nobody's admin yet.
  other.record([{ ...approved(second), streamSequence: 1, at: last + 10 }]);
  await here.receipted(other, 0);
  expect(await here.reads.shreds(here.tenant, [ada])).toEqual([]);
  const size = here.founder.events.length;
  const letIn = { op: "access", streamSequence: last, at: last } as const;
  here.founder.record([{ ...said("AccessGranted", granted(other), first), ...letIn }]);
  await here.receipted(here.founder, size);
  await shredded();
  expect(await keptIn(ada)).toEqual(["shredded"]);
});

test("takes the frames of many scopes away, and looks through the grants once for all of them", async () => {
  const scopes = [ada, ...Array.from({ length: 7 }, () => createPseudonym(here.chance))];
  const request = said("ShredRequested", { shred, scopes }, actors[0]);
  here.founder.record([founding(), ...scopes.map(recorded), request]);
  here.founder.record([approved(actors[0])]);
  await here.receipted(here.founder, 0);
  let looked = 0;
  const { store } = here;
  const server = here.overStore({
    ...store,
    write: (tenant, work) =>
      store.write(tenant, (tx) =>
        work({
          ...tx,
          grantsOf(...asked) {
            looked += 1;
            return tx.grantsOf(...asked);
          },
        }),
      ),
  });
  const size = here.founder.events.length;
  here.founder.record([approved(actors[1])]);
  const push = here.founder.push(size);
  await server.push(callerOf(here.founder), push, rawOf(push));
  await shredded();
  for (const scope of scopes) expect(await keptIn(scope)).toEqual(["shredded"]);
  expect(looked).toBe(1);
  await server.close();
});

test("drops grants of what is shredded, and takes no more of them", async () => {
  const other = await here.join();
  const to = grantRecipient(other);
  const grant = (scope: string, id: string) =>
    canonicalJson({
      v: 1,
      suite: "x25519-sha256-aes256gcm",
      kind: "data",
      tenant: here.tenant,
      to,
      id,
      scope,
      section: "content",
      generation: 1,
      enc: "",
      ct: "",
    });
  const send = (...grants: readonly string[]) =>
    here.server.sendGrants(callerOf(here.founder), { grants });
  const kept = async (): Promise<readonly string[]> =>
    (await here.reads.grants(here.tenant, to, 0, 100)).map((one) => one.grant);
  expect(fromBase64(other.hpke)).toHaveLength(32);
  await send(grant(ada, "k1"), grant(bob, "k2"));
  here.founder.record([founding(), asked(), approved(actors[0]), approved(actors[1])]);
  await here.receipted(here.founder, 0);
  await shredded();
  expect(await kept()).toEqual([grant(bob, "k2")]);
  await send(grant(ada, "k3"), grant(bob, "k4"));
  expect(await kept()).toEqual([grant(bob, "k2"), grant(bob, "k4")]);
});

import {
  base64url,
  checkConsistency,
  checkInclusions,
  checkProvenLeaf,
  type Checkpoint,
  createNoteVerifier,
  fromBase64,
  isHoldfastError,
  leafHash,
  openNote,
  parseCheckpoint,
  parseNote,
  parseStatement,
  type PulledLog,
  type PullPage,
  type PullRequest,
  utf8,
  verifySignature,
} from "@holdfast/core";
import { createNodeCrypto, openPlainSqlite } from "@holdfast/node";
import {
  callerOf,
  createInvitationCode,
  createPseudonym,
  createPushingDevice,
  createTestServer,
  type PushingDevice,
  type TestServer,
} from "@holdfast/testkit";
import { afterEach, beforeEach, describe, expect, test } from "vitest";

const crypto = createNodeCrypto();
let here: TestServer;

beforeEach(async () => {
  const driver = openPlainSqlite({ path: ":memory:", readOnly: false });
  here = await createTestServer({ crypto, driver });
});
afterEach(async () => {
  await here.close();
});

const everything: PullRequest = {
  scopes: "*",
  after: 0,
  events: 1_000,
  bytes: 1_000_000,
  checkpoint: 0,
  held: {},
};

function pullFor(device: PushingDevice, wishes: Partial<PullRequest> = {}): Promise<PullPage> {
  return here.server.pull(callerOf(device), { ...everything, ...wishes });
}

async function refusalOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    if (isHoldfastError(error)) return error.code;
    throw error;
  }
  throw new Error("it was not refused");
}

function openSigned(note: string, algorithm: "ed25519", spki: Uint8Array): Checkpoint {
  const statement = parseCheckpoint(parseNote(note).text);
  const key = { name: statement.origin, algorithm, spki: Uint8Array.from(spki) };
  const verifier = createNoteVerifier(crypto, key);
  const opened = openNote(note, [verifier], (...args) => verifySignature(crypto, ...args));
  expect(opened.status).toBe("verified");
  return statement;
}

/** What a replica checks of a page, with nothing but the pinned key of the server. */
function expectPageProven(page: PullPage): void {
  const log = openSigned(page.checkpoint, "ed25519", here.spki);
  for (const [number, pulled] of page.logs.entries()) expectLogProven(page, number, pulled, log);
}

function expectLogProven(
  page: PullPage,
  number: number,
  pulled: PulledLog,
  server: Checkpoint,
): void {
  expect(checkProvenLeaf(crypto, pulled.receipt, server)).toBe(true);
  expect(checkProvenLeaf(crypto, pulled.enrolment, server)).toBe(true);
  const { pub } = JSON.parse(pulled.opening) as { readonly pub: { readonly spki: string } };
  const spki = fromBase64(pub.spki) ?? new Uint8Array(0);
  const { size, root } = openSigned(pulled.note, "ed25519", spki);
  expect(parseStatement(pulled.receipt.text).size).toBe(size);
  const leaves = new Map([[0, leafHash(crypto, utf8(pulled.opening))]]);
  for (const event of page.events.filter(({ log }) => log === number)) {
    leaves.set(event.index, leafHash(crypto, utf8(event.body.header)));
  }
  const placed = [...leaves].map(([index, leaf]) => ({ index, leaf }));
  const inOrder = placed.toSorted((a, b) => a.index - b.index);
  const claim = { leaves: inOrder, size, root, hashes: pulled.hashes };
  expect(checkInclusions(crypto, claim)).toBe(true);
}

describe("enrolment", () => {
  test("founds a tenant: an admin with all access, and the server's own device", async () => {
    const row = await here.reads.tenant(here.tenant);
    const node = here.nodes.get(here.tenant);
    expect(row).toMatchObject({ founder: here.founder.device, node: node?.device });
    const devices = await here.server.devices(callerOf(here.founder));
    expect(devices.map(({ device, role }) => [device, role]).toSorted()).toEqual(
      [
        [here.founder.device, "admin"],
        [node?.device, "device"],
      ].toSorted(),
    );
    expect(await here.reads.access(here.tenant, here.founder.device)).toEqual(["*"]);
  });

  test("answers with the enrolment proven in the newest checkpoint, again when the answer was lost", async () => {
    const { server, chance, tenant, founder, clock } = here;
    const device = createPushingDevice({ crypto, chance, tenant });
    const code = createInvitationCode({ crypto, chance });
    const expires = clock.now() + 1_000;
    await server.addCode(callerOf(founder), { digest: code.digest, role: "device", expires });
    const request = device.enrol(code);
    const answer = await server.enrol(request);
    const statement = parseStatement(answer.enrolment.text);
    expect(statement).toMatchObject({ kind: "enrol", size: 1, node: answer.node });
    const log = openSigned(answer.checkpoint, "ed25519", here.spki);
    expect(checkProvenLeaf(crypto, answer.enrolment, log)).toBe(true);
    clock.advance(5_000);
    const again = await server.enrol(request);
    expect(again.enrolment.text).toBe(answer.enrolment.text);
    expect(again.enrolment.index).toBe(answer.enrolment.index);
  });

  test("refuses unknown, used, expired and foreign codes with one error", async () => {
    const { server, chance, tenant, founder, clock } = here;
    const deps = { crypto, chance, tenant };
    const refusals: string[] = [];
    const tried = async (code: ReturnType<typeof createInvitationCode>, in_ = tenant) => {
      const device = createPushingDevice({ ...deps, tenant: in_ });
      refusals.push(await refusalOf(server.enrol(device.enrol(code))));
    };
    await tried(createInvitationCode(deps));
    const used = createInvitationCode(deps);
    const expires = clock.now() + 1_000;
    await server.addCode(callerOf(founder), { digest: used.digest, role: "device", expires });
    await server.enrol(createPushingDevice(deps).enrol(used));
    await tried(used);
    const expired = createInvitationCode(deps);
    await server.addCode(callerOf(founder), { digest: expired.digest, role: "device", expires });
    await tried(expired, createPseudonym(chance));
    clock.advance(1_000);
    await tried(expired);
    const garbled = { ...createPushingDevice(deps).enrol(used), opening: "{}" };
    expect(await refusalOf(server.enrol(garbled))).toBe("enrol_code_refused");
    const founding = createInvitationCode(deps);
    await server.addFoundingCode(founding.digest, clock.now() + 1_000);
    await tried(founding);
    expect(refusals).toEqual(Array.from({ length: 5 }, () => "enrol_code_refused"));
  });

  test("two devices at once with one code: one enrols", async () => {
    const { server, chance, tenant, founder, clock } = here;
    const code = createInvitationCode({ crypto, chance });
    const expires = clock.now() + 1_000;
    await server.addCode(callerOf(founder), { digest: code.digest, role: "device", expires });
    const both = [1, 2].map(() => createPushingDevice({ crypto, chance, tenant }));
    const results = await Promise.allSettled(both.map((one) => server.enrol(one.enrol(code))));
    expect(results.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
  });

  test("a note that does not hold the opening is refused", async () => {
    const { server, chance, tenant, founder, clock } = here;
    const [device, other] = [1, 2].map(() => createPushingDevice({ crypto, chance, tenant }));
    const code = createInvitationCode({ crypto, chance });
    const expires = clock.now() + 1_000;
    await server.addCode(callerOf(founder), { digest: code.digest, role: "device", expires });
    const request = (device as PushingDevice).enrol(code);
    const { note } = (other as PushingDevice).firstWords();
    expect(await refusalOf(server.enrol({ ...request, note }))).toBe("opening_wrong");
    const path = [new Uint8Array(32)];
    expect(await refusalOf(server.enrol({ ...request, path }))).toBe("opening_wrong");
    await server.enrol(request);
  });
});

describe("a pull", () => {
  test("brings what others recorded, proven, and passes over nothing", async () => {
    const { founder } = here;
    const other = await here.join();
    for (let round = 0; round < 3; round++) {
      founder.record([{}, {}]);
      await here.receipted(founder, round === 0 ? 0 : founder.events.length - 2);
      other.record([{}]);
      await here.receipted(other, round === 0 ? 0 : other.events.length - 1);
    }
    const seen: number[] = [];
    let after = 0;
    for (;;) {
      const page = await pullFor(founder, { after, events: 2 });
      expectPageProven(page);
      seen.push(...page.events.map(({ index }) => index));
      expect(page.head).toBe(11);
      after = page.next;
      if (after === page.head) break;
    }
    expect(seen).toEqual([0, 1, 2, 3]);
    const own = await pullFor(founder, { own: true });
    expectPageProven(own);
    expect(own.events.map(({ position }) => position)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
  });

  test("is bounded by bytes, but brings one event at least", async () => {
    const other = await here.join();
    other.record([{}, {}]);
    await here.receipted(other, 0);
    const page = await pullFor(here.founder, { bytes: 1 });
    expect(page.events).toHaveLength(1);
    expect(page.next).toBe(page.events[0]?.position);
  });

  test("joins to the note and the checkpoint that the replica holds", async () => {
    const other = await here.join();
    other.record([{}]);
    await here.receipted(other, 0);
    const first = await pullFor(here.founder);
    const held = { [`${other.device}/${other.incarnation}`]: 2 };
    other.record([{}, {}, {}]);
    await here.receipted(other, 2);
    const before = openSigned(first.checkpoint, "ed25519", here.spki);
    const page = await pullFor(here.founder, { after: first.next, held, checkpoint: before.size });
    const after = openSigned(page.checkpoint, "ed25519", here.spki);
    const claim = { oldSize: before.size, oldRoot: before.root, newSize: after.size };
    const path = page.consistency;
    expect(checkConsistency(crypto, { ...claim, newRoot: after.root, path })).toBe(true);
    const [oldNote, newNote] = [other.notes[1], other.notes[2]];
    const grown = {
      oldSize: 2,
      oldRoot: fromBase64(oldNote?.root ?? "") ?? new Uint8Array(0),
      newSize: 5,
      newRoot: fromBase64(newNote?.root ?? "") ?? new Uint8Array(0),
      path: page.logs[0]?.consistency ?? [],
    };
    expect(checkConsistency(crypto, grown)).toBe(true);
  });

  test("denies what was not granted, whether it is there or not", async () => {
    const other = await here.join();
    const scope = createPseudonym(here.chance);
    here.founder.record([{ scope }, {}]);
    await here.receipted(here.founder, 0);
    expect(await refusalOf(pullFor(other, { scopes: [scope] }))).toBe("scope_denied");
    const nowhere = createPseudonym(here.chance);
    expect(await refusalOf(pullFor(other, { scopes: [nowhere] }))).toBe("scope_denied");
    expect((await pullFor(other)).events).toEqual([]);
  });

  test("beyond what is here says that the server lost something", async () => {
    await here.receipted(here.founder, 0);
    expect(await refusalOf(pullFor(here.founder, { after: 2 }))).toBe("server_behind");
    expect(await refusalOf(pullFor(here.founder, { checkpoint: 99 }))).toBe("server_behind");
    const { device, incarnation } = here.founder;
    const held = { [`${device}/${incarnation}`]: 9 };
    expect(await refusalOf(pullFor(here.founder, { own: true, held }))).toBe("server_behind");
  });

  test.each([{ after: -1 }, { events: 0 }, { bytes: 0.5 }, { held: { x: -1 } }])(
    "refuses %j",
    async (wishes) => {
      expect(await refusalOf(pullFor(here.founder, wishes))).toBe("request_malformed");
    },
  );
});

describe("access", () => {
  const granted = (device: PushingDevice, scopes: readonly string[]) => ({
    type: "AccessGranted",
    op: "access" as const,
    sections: [],
    pub: { device: device.device, hpke: device.hpke, role: "device", scopes },
  });
  const revoked = (device: PushingDevice, scopes: readonly string[]) => ({
    type: "AccessRevoked",
    op: "access" as const,
    sections: [],
    pub: { device: device.device, scopes },
  });

  test("comes from an admin's events and goes with them", async () => {
    const other = await here.join();
    const scope = createPseudonym(here.chance);
    here.founder.record([{ scope }, granted(other, [scope])]);
    await here.receipted(here.founder, 0);
    const page = await pullFor(other, { scopes: [scope] });
    expect(page.events.map(({ index }) => index)).toEqual([1]);
    expectPageProven(page);
    here.founder.record([revoked(other, [scope])]);
    await here.receipted(here.founder, 3);
    expect(await refusalOf(pullFor(other, { scopes: [scope] }))).toBe("scope_denied");
  });

  test("a grant that was owed does not undo the revocation that followed it", async () => {
    const other = await here.join();
    const scope = createPseudonym(here.chance);
    here.founder.record([granted(other, [scope]), revoked(other, [scope])]);
    await here.receipted(here.founder, 0, { leafOnly: [1] });
    await here.receipted(here.founder, 3, { fills: [1] });
    expect(await here.reads.access(here.tenant, other.device)).toEqual([]);
  });

  test("nobody else's events give it", async () => {
    const other = await here.join();
    other.record([granted(other, ["*"])]);
    const answer = await here.receipted(other, 0);
    expect(answer.dispositions).toEqual([
      { index: 1, disposition: "quarantined", code: "role_insufficient" },
    ]);
    expect(answer.owed).toEqual([]);
    expect(await here.reads.access(here.tenant, other.device)).toEqual([]);
    expect(await here.reads.quarantine(here.tenant, 9)).toMatchObject([
      { code: "role_insufficient" },
    ]);
  });

  test("a reader's events are custody, its opening is everybody's", async () => {
    const reader = await here.join("reader");
    reader.record([{}]);
    const answer = await here.receipted(reader, 0);
    expect(answer.dispositions).toEqual([
      { index: 1, disposition: "quarantined", code: "role_insufficient" },
    ]);
    expect((await pullFor(here.founder)).events.map(({ index }) => index)).toEqual([0]);
  });
});

describe("a revoked device", () => {
  test("reads nothing more, and what it pushes is custody", async () => {
    const other = await here.join();
    other.record([{}, {}]);
    await here.receipted(other, 0, { leafOnly: [1] });
    const { device } = other;
    await here.server.revoke(callerOf(here.founder), { device, why: "lost" });
    expect(await refusalOf(pullFor(other))).toBe("device_revoked");
    expect(await here.server.assertionKey(callerOf(other))).toMatchObject({ pushOnly: true });
    other.record([{}]);
    const answer = await here.receipted(other, 3, { fills: [1] });
    expect(answer).toMatchObject({ size: 4, owed: [] });
    expect(answer.dispositions).toEqual([
      { index: 3, disposition: "quarantined", code: "device_revoked" },
    ]);
    const next = other.successor();
    expect(await here.push(next, next.push(0))).toMatchObject({
      status: "receipted",
      dispositions: [{ index: 0, disposition: "quarantined", code: "device_revoked" }],
    });
    const seen = (await pullFor(here.founder)).events.map(({ index }) => index);
    expect(seen).toEqual([0, 2, 1]);
    const devices = await here.server.devices(callerOf(here.founder));
    expect(devices.find((one) => one.device === device)).toMatchObject({
      status: "revoked",
      logs: [{ size: 4, cutoff: 3 }, { cutoff: 0 }],
    });
  });

  test("the server log says at which size its logs ended", async () => {
    const other = await here.join();
    await here.receipted(other, 0);
    await here.server.revoke(callerOf(here.founder), { device: other.device, why: "lost" });
    const { leaves } = await here.server.leaves(callerOf(here.founder), 0, 100);
    expect(parseStatement(leaves.at(-1) ?? "")).toMatchObject({ kind: "revoke", size: 1 });
    const { checkpoint } = await here.server.checkpoint(callerOf(here.founder));
    expect(openSigned(checkpoint, "ed25519", here.spki).size).toBe(leaves.length);
    await here.server.revoke(callerOf(here.founder), { device: other.device, why: "lost" });
    expect((await here.server.leaves(callerOf(here.founder), 0, 100)).leaves).toEqual(leaves);
  });

  test("only an admin revokes, and never the server's node", async () => {
    const other = await here.join();
    const { founder, server } = here;
    const asked = { device: founder.device, why: "lost" };
    expect(await refusalOf(server.revoke(callerOf(other), asked))).toBe("role_insufficient");
    const node = here.nodes.get(here.tenant)?.device ?? "";
    const refusal = server.revoke(callerOf(founder), { device: node, why: "lost" });
    expect(await refusalOf(refusal)).toBe("device_unknown");
  });
});

describe("grants", () => {
  const grantFor = (recipient: PushingDevice, id: string): string =>
    JSON.stringify({
      ct: "c",
      enc: "e",
      generation: 1,
      id,
      kind: "data",
      scope: "A".repeat(22),
      section: "content",
      tenant: here.tenant,
      to: base64url(fromBase64(recipient.hpke) ?? new Uint8Array(0)),
    });

  test("reach the installation that they are for, once, and go when it is revoked", async () => {
    const { founder, server } = here;
    const other = await here.join();
    const grants = [grantFor(other, "k1"), grantFor(other, "k2")];
    await server.sendGrants(callerOf(founder), { grants });
    await server.sendGrants(callerOf(founder), { grants });
    const answer = await server.grants(callerOf(other), 0);
    expect(answer.grants.map(({ grant }) => grant)).toEqual(grants);
    expect(answer.more).toBe(false);
    const after = answer.grants[0]?.number ?? 0;
    expect((await server.grants(callerOf(other), after)).grants).toEqual(answer.grants.slice(1));
    expect((await server.grants(callerOf(founder), 0)).grants).toEqual([]);
    await server.revoke(callerOf(founder), { device: other.device, why: "lost" });
    const { hpke } = other;
    const recipient = base64url(fromBase64(hpke) ?? new Uint8Array(0));
    expect(await here.reads.grants(here.tenant, recipient, 0, 9)).toEqual([]);
    const late = server.sendGrants(callerOf(founder), { grants });
    expect(await refusalOf(late)).toBe("grant_recipient_unknown");
  });

  test("of another tenant, for nobody, or of no form are refused whole", async () => {
    const { founder, server } = here;
    const other = await here.join();
    const good = grantFor(other, "k1");
    const send = (grant: string): Promise<string> =>
      refusalOf(server.sendGrants(callerOf(founder), { grants: [good, grant] }));
    expect(await send(good.replace(here.tenant, "A".repeat(22)))).toBe("grant_malformed");
    expect(await send("null")).toBe("grant_malformed");
    expect(await send(`${good} `)).toBe("grant_malformed");
    const stranger = createPushingDevice({ crypto, chance: here.chance, tenant: here.tenant });
    expect(await send(grantFor(stranger, "k2"))).toBe("grant_recipient_unknown");
    expect((await server.grants(callerOf(other), 0)).grants).toEqual([]);
    const reader = await here.join("reader");
    const sent = server.sendGrants(callerOf(reader), { grants: [good] });
    expect(await refusalOf(sent)).toBe("role_insufficient");
  });
});

describe("conflict candidates", () => {
  test("are concurrent events of one stream, until a resolution names them", async () => {
    const { founder, server } = here;
    const other = await here.join();
    const [stream, scope] = [createPseudonym(here.chance), createPseudonym(here.chance)];
    founder.record([{ stream, scope }]);
    other.record([{ stream, scope }]);
    await here.receipted(founder, 0);
    await here.receipted(other, 0);
    const sides = [founder.events[1]?.leaf ?? "", other.events[1]?.leaf ?? ""].toSorted();
    const { candidates } = await server.conflicts(callerOf(founder), undefined);
    expect(candidates).toEqual([{ stream, leaves: sides }]);
    expect(await server.conflicts(callerOf(founder), stream)).toEqual({ candidates });
    expect(await server.conflicts(callerOf(other), stream)).toEqual({ candidates: [] });
    const vector = {
      [`${founder.device}/${founder.incarnation}`]: 1,
      [`${other.device}/${other.incarnation}`]: 1,
    };
    founder.record([{ stream, scope, op: "resolve", ref: sides, vector, streamSequence: 2 }]);
    await here.receipted(founder, 2);
    expect(await server.conflicts(callerOf(founder), undefined)).toEqual({ candidates: [] });
  });
});

describe("the server log", () => {
  test("proves its leaves and its growth, and nothing beyond its checkpoint", async () => {
    const { founder, server } = here;
    for (let round = 0; round < 5; round++) {
      founder.record([{}]);
      await here.receipted(founder, 0);
    }
    const caller = callerOf(founder);
    const { checkpoint } = await server.checkpoint(caller);
    const log = openSigned(checkpoint, "ed25519", here.spki);
    for (let index = 0; index < log.size; index++) {
      const { leaf } = await server.inclusion(caller, { index, size: log.size });
      expect(checkProvenLeaf(crypto, leaf, log)).toBe(true);
    }
    const { path } = await server.consistency(caller, { before: 3, size: log.size });
    const { leaves } = await server.leaves(caller, 0, 3);
    const hashes = leaves.map((text) => leafHash(crypto, utf8(text)));
    const left = crypto.sha256(Uint8Array.of(1), hashes[0] ?? utf8(""), hashes[1] ?? utf8(""));
    const oldRoot = crypto.sha256(Uint8Array.of(1), left, hashes[2] ?? utf8(""));
    const claim = { oldSize: 3, oldRoot, newSize: log.size, newRoot: log.root, path };
    expect(checkConsistency(crypto, claim)).toBe(true);
    const size = log.size + 1;
    for (const asked of [
      server.inclusion(caller, { index: 0, size }),
      server.inclusion(caller, { index: log.size, size: log.size }),
      server.consistency(caller, { before: 0, size: log.size }),
      server.leaves(caller, 2, 1),
    ]) {
      expect(await refusalOf(asked)).toBe("request_malformed");
    }
  });
});

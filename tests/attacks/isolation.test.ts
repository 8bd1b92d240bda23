/**
 * Row 28, for every route: what belongs to another tenant, or to scopes that one may not read, is answered as what
 * is not there: the same status, the same body, the same headers.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { base64, base64url, canonicalJson, mediaTypes, utf8 } from "@holdfast/core";
import {
  createInvitationCode,
  createPushingDevice,
  createRecordingObserver,
  createTestEngine,
  type PushingDevice,
  type TestEngine,
} from "@holdfast/testkit";
import { createPostgresReplayMemory, routes } from "@holdfast/server";
import { createDatabase } from "../postgres/cluster.ts";
import { crypto, postToken, serveEngine, startTestApi, type TestApi } from "../server/lab.ts";
import { digestOf, digestOfDatabase, foundOther, joinOther, pushOver } from "./lab.ts";

let lab: TestApi<TestEngine>;
/** Everything that the server keeps, whoever's it is. */
let digest: () => Promise<string>;
let mine: PushingDevice;
let admin: string;
/** A device of the other tenant, and its admin. */
let theirs: PushingDevice;
let theirFounder: PushingDevice;
/** Origin of a server log of theirs that another one went on for. */
let theirFormerLog: string;
/** A plain device of one's own tenant that may read nothing. */
let plain: string;

/** Starts a server, and ends what it stands on. */
type Ground = () => Promise<() => Promise<void>>;

const onSqlite: Ground = async () => {
  const started = await startTestApi();
  lab = started;
  digest = () => Promise.resolve(digestOf(started.engine));
  return () => lab.close();
};

const onPostgres: Ground = async () => {
  const database = await createDatabase();
  const observer = createRecordingObserver();
  const engine = await createTestEngine(database.open(), { crypto, observer });
  lab = await serveEngine(engine, observer, {}, createPostgresReplayMemory(database.server));
  digest = () => digestOfDatabase(database.owner);
  return async () => {
    await lab.close();
    await database.close();
  };
};

async function populate(): Promise<void> {
  mine = lab.engine.founder;
  mine.record([{}, {}]);
  await lab.engine.receipted(mine, 0);
  admin = await lab.token(mine);
  theirFounder = await foundOther(lab.engine);
  theirFounder.record([{}, {}]);
  await lab.engine.receipted(theirFounder, 0);
  theirFounder.record([{}]);
  await lab.engine.receipted(theirFounder, 3);
  theirs = await joinOther(lab.engine, theirFounder);
  theirs.record([{}]);
  await lab.engine.receipted(theirs, 0);
  const { tenant, device, incarnation } = theirFounder;
  const grants = [grantTo(theirs.hpke, tenant)];
  const caller = { tenant, device, incarnation };
  await lab.engine.server.sendGrants(caller, { grants });
  const { checkpoint } = await lab.engine.server.checkpoint(caller);
  theirFormerLog = checkpoint.split("\n")[0] ?? "";
  await lab.engine.server.moveTenant({ tenant });
  plain = await lab.token(await lab.engine.join());
}

const absentId = "B".repeat(21) + "A";

/** All that an answer tells, request id and date apart. */
async function seen(answer: Response): Promise<unknown> {
  const text = await answer.text();
  const body = text.replace(/"request_id":"[^"]*"/, '"request_id":""');
  const headers = [...answer.headers].filter(
    ([name]) => name !== "date" && name !== "x-request-id",
  );
  return { status: answer.status, headers, body };
}

async function alike(
  foreign: () => Promise<Response>,
  absent: () => Promise<Response>,
  status: number,
): Promise<void> {
  const before = await digest();
  const one = await seen(await foreign());
  expect(one).toEqual(await seen(await absent()));
  expect(one).toMatchObject({ status });
  expect(await digest()).toBe(before);
}

const pull = (changes: object, as: string): Promise<Response> =>
  lab.post(
    "/v1/pull",
    { scopes: "*", after: 0, events: 9, bytes: 9_999, checkpoint: 0, held: {}, ...changes },
    as,
  );

function grantTo(recipient: string, tenant: string): string {
  const to = base64url(Buffer.from(recipient, "base64"));
  return canonicalJson({ kind: "pseudonym", tenant, to, v: 1 });
}

interface Attack {
  readonly route: string;
  readonly status: number;
  foreign(): Promise<Response>;
  absent(): Promise<Response>;
}

const scopeOf = (device: PushingDevice): string => device.events.at(-1)?.header.scope ?? "";
const streamOf = (device: PushingDevice): string => device.events.at(-1)?.header.stream ?? "";

const attacks: readonly Attack[] = [
  {
    route: "pull",
    status: 404,
    foreign: () => pull({ scopes: [scopeOf(mine)] }, plain),
    absent: () => pull({ scopes: [absentId] }, plain),
  },
  {
    route: "pull",
    status: 404,
    foreign: () => pull({ scopes: [scopeOf(theirs)] }, plain),
    absent: () => pull({ scopes: [absentId] }, plain),
  },
  {
    // Who may read every scope of the own tenant asks for one of the other: an empty page.
    route: "pull",
    status: 200,
    foreign: () => pull({ scopes: [scopeOf(theirs)] }, admin),
    absent: () => pull({ scopes: [absentId] }, admin),
  },
  {
    // A position that only the other tenant's shard has.
    route: "pull",
    status: 409,
    foreign: () => pull({ after: 4 }, admin),
    absent: () => pull({ after: 4 }, admin),
  },
  {
    route: "pull",
    status: 200,
    foreign: () => pull({ held: { [`${theirs.device}/${theirs.incarnation}`]: 1 } }, admin),
    absent: () => pull({ held: { [`${absentId}/${"0".repeat(16)}`]: 1 } }, admin),
  },
  {
    route: "push",
    status: 404,
    foreign: () => pushOver(lab, theirs.push(0), admin),
    absent: () => pushOver(lab, { ...theirs.push(0), device: absentId }, admin),
  },
  // Places that only the other tenant's log has, and places that none has.
  {
    route: "push",
    status: 409,
    foreign: () => pushOver(lab, { ...mine.push(0), checkpoint: 6 }, admin),
    absent: () => pushOver(lab, { ...mine.push(0), checkpoint: 50 }, admin),
  },
  {
    route: "pull",
    status: 409,
    foreign: () => pull({ checkpoint: 6 }, admin),
    absent: () => pull({ checkpoint: 50 }, admin),
  },
  {
    route: "inclusion",
    status: 422,
    foreign: () => lab.get("/v1/log/inclusion?index=5&size=6", admin),
    absent: () => lab.get("/v1/log/inclusion?index=49&size=50", admin),
  },
  {
    route: "consistency",
    status: 422,
    foreign: () => lab.get("/v1/log/consistency?before=4&size=6", admin),
    absent: () => lab.get("/v1/log/consistency?before=4&size=50", admin),
  },
  {
    route: "leaves",
    status: 422,
    foreign: () => lab.get("/v1/log/leaves?from=5&to=6", admin),
    absent: () => lab.get("/v1/log/leaves?from=49&to=50", admin),
  },
  ...["epoch?size=1&", "checkpoint?", "inclusion?index=0&size=1&", "leaves?from=0&to=1&"].map(
    (asked): Attack => ({
      route: asked.split("?", 1)[0] ?? "",
      status: 404,
      foreign: () => lab.get(`/v1/log/${asked}log=${encodeURIComponent(theirFormerLog)}`, admin),
      absent: () => {
        const nobodys = theirFormerLog.replace(/[^/]+\/1$/, `${absentId}/1`);
        return lab.get(`/v1/log/${asked}log=${encodeURIComponent(nobodys)}`, admin);
      },
    }),
  ),
  {
    route: "grants",
    status: 200,
    foreign: () => lab.get("/v1/grants?after=0", plain),
    absent: () => lab.get("/v1/grants?after=99", plain),
  },
  {
    route: "conflicts",
    status: 200,
    foreign: () => lab.get(`/v1/conflicts?stream=${streamOf(theirs)}`, admin),
    absent: () => lab.get(`/v1/conflicts?stream=${absentId}`, admin),
  },
  {
    route: "revoke",
    status: 404,
    foreign: () => lab.post("/v1/devices/revoke", { device: theirs.device, why: "lost" }, admin),
    absent: () => lab.post("/v1/devices/revoke", { device: absentId, why: "lost" }, admin),
  },
  {
    // The server's own device is not an admin's to revoke.
    route: "revoke",
    status: 404,
    foreign: () => {
      const device = lab.engine.nodes.get(mine.tenant)?.device;
      return lab.post("/v1/devices/revoke", { device, why: "lost" }, admin);
    },
    absent: () => lab.post("/v1/devices/revoke", { device: absentId, why: "lost" }, admin),
  },
  {
    route: "send_grants",
    status: 404,
    foreign: () => lab.post("/v1/grants", { grants: [grantTo(theirs.hpke, mine.tenant)] }, admin),
    absent: () => {
      const nobody = base64(crypto.sha256(utf8("nobody")));
      return lab.post("/v1/grants", { grants: [grantTo(nobody, mine.tenant)] }, admin);
    },
  },
  {
    route: "token",
    status: 401,
    foreign: () => tokenBy({ ...theirs, sign: mine.sign }),
    absent: () => tokenBy({ ...theirs, device: absentId, sign: mine.sign }),
  },
  {
    route: "enrol",
    status: 403,
    foreign: () => enrolWith(lab.engine.chance.bytes(32)),
    absent: () => enrolWith(lab.engine.chance.bytes(32)),
  },
];

function tokenBy(device: PushingDevice): Promise<Response> {
  return postToken(lab.url, lab.assertion(device));
}

/** A code that is not there, presented with an opening of a tenant that is. */
function enrolWith(secret: Uint8Array): Promise<Response> {
  const { chance } = lab.engine;
  const device = createPushingDevice({ crypto, chance, tenant: theirs.tenant });
  const { opening, note, path, binding } = device.enrol({ proof: base64url(secret), digest: "" });
  const text = path.map((hash) => base64(hash));
  return lab.post("/v1/enrol", { proof: base64url(secret), binding, opening, note, path: text });
}

/** Answers of one's own tenant: nothing of another may be in them. */
const lists = ["devices", "grants", "checkpoint", "inclusion", "consistency", "leaves", "tail"];
const open = ["hello"];

describe.each([
  { name: "SQLite", ground: onSqlite },
  { name: "PostgreSQL", ground: onPostgres },
])("row 28: others' things look like what is not there, on $name", ({ ground }) => {
  let end: () => Promise<void>;
  beforeAll(async () => {
    end = await ground();
    await populate();
  });
  afterAll(() => end());

  it.each(attacks.map((attack, at) => [attack.route, at, attack] as const))(
    "%s, attack %i",
    async (_route, _at, { foreign, absent, status }) => {
      await alike(foreign, absent, status);
    },
  );

  it("a used code tells a stranger no more than an unknown one, whatever the opening is", async () => {
    const used = createPushingDevice({
      crypto,
      chance: lab.engine.chance,
      tenant: mine.tenant,
    });
    const { proof, digest } = createInvitationCode({ crypto, chance: lab.engine.chance });
    const expires = new Date(lab.engine.clock.now() + 60_000).toISOString();
    const made = await lab.post("/v1/codes", { digest, role: "device", expires }, admin);
    expect(made.status).toBe(204);
    await lab.engine.server.enrol(used.enrol({ proof, digest }));
    const present = (text: string): Promise<Response> => {
      const words = used.enrol({ proof: text, digest });
      const path = words.path.map((hash) => base64(hash));
      return lab.post("/v1/enrol", { ...words, path, proof: text, opening: "{}" });
    };
    await alike(
      () => present(proof),
      () => present(base64url(lab.engine.chance.bytes(32))),
      403,
    );
  });

  it("what lists one's own names nothing of others", async () => {
    const names = [theirs, theirFounder].flatMap(({ tenant, device, incarnation, events }) => [
      tenant,
      device,
      incarnation,
      ...events.flatMap(({ leaf, header }) => [leaf, header.scope, header.stream, header.id]),
    ]);
    const { checkpoint } = (await (await lab.get("/v1/log/checkpoint", admin)).json()) as {
      checkpoint: string;
    };
    const size = Number(checkpoint.split("\n")[1]);
    const texts = [
      await (await lab.get("/v1/devices", admin)).text(),
      await (await lab.get("/v1/grants?after=0", admin)).text(),
      await (await lab.get(`/v1/log/leaves?from=0&to=${size}`, admin)).text(),
      await (await lab.get(`/v1/log/inclusion?index=0&size=${size}`, admin)).text(),
      await (await lab.get(`/v1/log/consistency?before=1&size=${size}`, admin)).text(),
      Buffer.from(await (await pull({ own: true }, admin)).arrayBuffer()).toString("latin1"),
      checkpoint,
    ];
    for (const name of names) for (const text of texts) expect(text).not.toContain(name);
    expect(texts.some((text) => text.includes(mine.device))).toBe(true);
  });

  it("a tail says nothing of another tenant's growth", async () => {
    const tail = await lab.get("/v1/tail", admin);
    expect(tail.headers.get("content-type")).toBe(mediaTypes.events);
    theirs.record([{}]);
    await lab.engine.receipted(theirs, 2);
    lab.api.stop();
    const text = await tail.text();
    expect(text).toContain("event: end");
    expect(text).not.toContain("hint");
  });

  it("covers every route: attacked by another's ids, or a list of one's own", () => {
    const covered = new Set([...attacks.map(({ route }) => route), ...lists, ...open, "codes"]);
    expect(routes.map(({ name }) => name).filter((name) => !covered.has(name))).toEqual([]);
  });
});

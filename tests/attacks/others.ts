/**
 * What there is to ask for of another tenant, and of what one may not read: for every route a request that names it,
 * and the same request that names what is not there. Two grounds that servers stand on.
 */
import { base64, base64url, canonicalJson, utf8 } from "@holdfast/core";
import {
  callerOf,
  createInvitationCode,
  createPushingDevice,
  createRecordingObserver,
  createTestEngine,
  type PushingDevice,
  type TestEngine,
} from "@holdfast/testkit";
import { createPostgresReplayMemory, type ServerStore } from "@holdfast/server";
import { createDatabase } from "../postgres/cluster.ts";
import {
  crypto,
  postToken,
  type ServingBounds,
  serveEngine,
  startTestApi,
  type TestApi,
} from "../server/lab.ts";
import { digestOf, digestOfDatabase, foundOther, joinOther, pushOver } from "./lab.ts";

/** A server, and two tenants on it. */
export interface Others {
  readonly lab: TestApi<TestEngine>;
  /** Digest of everything that the server keeps, whoever's it is. */
  readonly digest: () => Promise<string>;
  readonly mine: PushingDevice;
  /** Token of `mine`. */
  readonly admin: string;
  /** A device of the other tenant, and its admin. */
  readonly theirs: PushingDevice;
  readonly theirFounder: PushingDevice;
  /** Origin of a server log of theirs that another one went on for. */
  readonly theirFormerLog: string;
  /** Token of a device of one's own tenant that may read nothing. */
  readonly plain: string;
  /** A code of theirs, and the device that used it. */
  readonly used: { readonly proof: string; readonly device: PushingDevice };
  /** Ends the server and what it stands on. */
  end(): Promise<void>;
}

type Served = Pick<Others, "lab" | "digest" | "end">;

async function theirCheckpoint({ lab, theirs }: Others): Promise<string> {
  return (await lab.engine.server.checkpoint(callerOf(theirs))).checkpoint;
}

function presented({ lab, admin }: Others, checkpoint: string) {
  return lab.post("/v1/log/receipts", { checkpoint, receipts: [] }, admin);
}

/** What a test changes. */
export interface GroundOptions {
  readonly bounds?: ServingBounds;
  /** Stands between the engine and a PostgreSQL. */
  readonly through?: (store: ServerStore) => ServerStore;
}

async function onSqlite({ bounds = {} }: GroundOptions): Promise<Served> {
  const lab = await startTestApi(bounds);
  return { lab, digest: () => Promise.resolve(digestOf(lab.engine)), end: () => lab.close() };
}

async function onPostgres({ bounds = {}, through }: GroundOptions): Promise<Served> {
  const database = await createDatabase();
  const observer = createRecordingObserver();
  const store = database.open();
  const engine = await createTestEngine(through?.(store) ?? store, { crypto, observer });
  const replay = createPostgresReplayMemory(database.server);
  const lab = await serveEngine(engine, observer, bounds, replay);
  return {
    lab,
    digest: () => digestOfDatabase(database.owner),
    async end() {
      await lab.close();
      await database.close();
    },
  };
}

/** Both, for `describe.each`. */
export const grounds: readonly {
  readonly name: string;
  start(options?: GroundOptions): Promise<Others>;
}[] = [
  { name: "SQLite", start: async (options = {}) => populated(await onSqlite(options)) },
  { name: "PostgreSQL", start: async (options = {}) => populated(await onPostgres(options)) },
];

async function populated(served: Served): Promise<Others> {
  const { lab } = served;
  const mine = lab.engine.founder;
  mine.record([{}, {}]);
  await lab.engine.receipted(mine, 0);
  const admin = await lab.token(mine);
  const theirFounder = await foundOther(lab.engine);
  theirFounder.record([{}, {}]);
  await lab.engine.receipted(theirFounder, 0);
  theirFounder.record([{}]);
  await lab.engine.receipted(theirFounder, 3);
  const theirs = await joinOther(lab.engine, theirFounder);
  theirs.record([{}]);
  await lab.engine.receipted(theirs, 0);
  const { tenant, device, incarnation } = theirFounder;
  const grants = [grantTo(theirs.hpke, tenant)];
  const caller = { tenant, device, incarnation };
  await lab.engine.server.sendGrants(caller, { grants });
  const { checkpoint } = await lab.engine.server.checkpoint(caller);
  const theirFormerLog = checkpoint.split("\n")[0] ?? "";
  await lab.engine.server.moveTenant({ tenant });
  const plain = await lab.token(await lab.engine.join());
  const used = await useCode(lab, tenant, await lab.token(theirFounder));
  return { ...served, mine, admin, theirs, theirFounder, theirFormerLog, plain, used };
}

async function useCode(lab: TestApi<TestEngine>, tenant: string, as: string) {
  const { chance, clock, server } = lab.engine;
  const device = createPushingDevice({ crypto, chance, tenant });
  const { proof, digest } = createInvitationCode({ crypto, chance });
  const expires = new Date(clock.now() + 60_000).toISOString();
  const { status } = await lab.post("/v1/codes", { digest, role: "device", expires }, as);
  if (status !== 204) throw new Error(`a code is refused: ${status}`);
  await server.enrol(device.enrol({ proof, digest }));
  return { proof, device };
}

const absentId = "B".repeat(21) + "A";

/** Pulls as whoever has that token. */
export const pull = ({ lab }: Others, changes: object, as: string): Promise<Response> =>
  lab.post(
    "/v1/pull",
    { scopes: "*", after: 0, events: 9, bytes: 9_999, checkpoint: 0, held: {}, ...changes },
    as,
  );

function grantTo(recipient: string, tenant: string): string {
  const to = base64url(Buffer.from(recipient, "base64"));
  return canonicalJson({ kind: "pseudonym", tenant, to, v: 1 });
}

/** One thing to ask for, and the status that both are answered with. */
export interface Attack {
  readonly route: string;
  readonly status: number;
  foreign(here: Others): Promise<Response>;
  absent(here: Others): Promise<Response>;
}

const scopeOf = (device: PushingDevice): string => device.events.at(-1)?.header.scope ?? "";
const streamOf = (device: PushingDevice): string => device.events.at(-1)?.header.stream ?? "";

/** Every route that takes the id or the place of something. */
export const attacks: readonly Attack[] = [
  {
    route: "pull",
    status: 404,
    foreign: (here) => pull(here, { scopes: [scopeOf(here.mine)] }, here.plain),
    absent: (here) => pull(here, { scopes: [absentId] }, here.plain),
  },
  {
    route: "pull",
    status: 404,
    foreign: (here) => pull(here, { scopes: [scopeOf(here.theirs)] }, here.plain),
    absent: (here) => pull(here, { scopes: [absentId] }, here.plain),
  },
  {
    // Who may read every scope of the own tenant asks for one of the other: an empty page.
    route: "pull",
    status: 200,
    foreign: (here) => pull(here, { scopes: [scopeOf(here.theirs)] }, here.admin),
    absent: (here) => pull(here, { scopes: [absentId] }, here.admin),
  },
  {
    // A position that only the other tenant's shard has.
    route: "pull",
    status: 409,
    foreign: (here) => pull(here, { after: 4 }, here.admin),
    absent: (here) => pull(here, { after: 4 }, here.admin),
  },
  {
    route: "pull",
    status: 200,
    foreign: (here) =>
      pull(here, { held: { [`${here.theirs.device}/${here.theirs.incarnation}`]: 1 } }, here.admin),
    absent: (here) => pull(here, { held: { [`${absentId}/${"0".repeat(16)}`]: 1 } }, here.admin),
  },
  {
    route: "push",
    status: 404,
    foreign: (here) => pushOver(here.lab, here.theirs.push(0), here.admin),
    absent: (here) => pushOver(here.lab, { ...here.theirs.push(0), device: absentId }, here.admin),
  },
  // Places that only the other tenant's log has, and places that none has.
  {
    route: "push",
    status: 409,
    foreign: (here) => pushOver(here.lab, { ...here.mine.push(0), checkpoint: 6 }, here.admin),
    absent: (here) => pushOver(here.lab, { ...here.mine.push(0), checkpoint: 50 }, here.admin),
  },
  {
    route: "pull",
    status: 409,
    foreign: (here) => pull(here, { checkpoint: 6 }, here.admin),
    absent: (here) => pull(here, { checkpoint: 50 }, here.admin),
  },
  {
    route: "inclusion",
    status: 422,
    foreign: (here) => here.lab.get("/v1/log/inclusion?index=5&size=6", here.admin),
    absent: (here) => here.lab.get("/v1/log/inclusion?index=49&size=50", here.admin),
  },
  {
    route: "consistency",
    status: 422,
    foreign: (here) => here.lab.get("/v1/log/consistency?before=4&size=6", here.admin),
    absent: (here) => here.lab.get("/v1/log/consistency?before=4&size=50", here.admin),
  },
  {
    route: "leaves",
    status: 422,
    foreign: (here) => here.lab.get("/v1/log/leaves?from=5&to=6", here.admin),
    absent: (here) => here.lab.get("/v1/log/leaves?from=49&to=50", here.admin),
  },
  ...["epoch?size=1&", "checkpoint?", "inclusion?index=0&size=1&", "leaves?from=0&to=1&"].map(
    (asked): Attack => ({
      route: asked.split("?", 1)[0] ?? "",
      status: 404,
      foreign: (here) =>
        here.lab.get(`/v1/log/${asked}log=${encodeURIComponent(here.theirFormerLog)}`, here.admin),
      absent: (here) => {
        const nobodys = here.theirFormerLog.replace(/[^/]+\/1$/, `${absentId}/1`);
        return here.lab.get(`/v1/log/${asked}log=${encodeURIComponent(nobodys)}`, here.admin);
      },
    }),
  ),
  {
    // What the server signed for others is no evidence here, and stops nobody.
    route: "present",
    status: 204,
    foreign: async (here) => presented(here, await theirCheckpoint(here)),
    absent: (here) => presented(here, "nothing"),
  },
  {
    route: "grants",
    status: 200,
    foreign: (here) => here.lab.get("/v1/grants?after=0", here.plain),
    absent: (here) => here.lab.get("/v1/grants?after=99", here.plain),
  },
  {
    route: "conflicts",
    status: 200,
    foreign: (here) => here.lab.get(`/v1/conflicts?stream=${streamOf(here.theirs)}`, here.admin),
    absent: (here) => here.lab.get(`/v1/conflicts?stream=${absentId}`, here.admin),
  },
  {
    route: "revoke",
    status: 404,
    foreign: (here) =>
      here.lab.post("/v1/devices/revoke", { device: here.theirs.device, why: "lost" }, here.admin),
    absent: (here) =>
      here.lab.post("/v1/devices/revoke", { device: absentId, why: "lost" }, here.admin),
  },
  {
    // The server's own device is not an admin's to revoke.
    route: "revoke",
    status: 404,
    foreign: (here) => {
      const device = here.lab.engine.nodes.get(here.mine.tenant)?.device;
      return here.lab.post("/v1/devices/revoke", { device, why: "lost" }, here.admin);
    },
    absent: (here) =>
      here.lab.post("/v1/devices/revoke", { device: absentId, why: "lost" }, here.admin),
  },
  {
    route: "send_grants",
    status: 404,
    foreign: (here) =>
      here.lab.post(
        "/v1/grants",
        { grants: [grantTo(here.theirs.hpke, here.mine.tenant)] },
        here.admin,
      ),
    absent: (here) => {
      const nobody = base64(crypto.sha256(utf8("nobody")));
      return here.lab.post(
        "/v1/grants",
        { grants: [grantTo(nobody, here.mine.tenant)] },
        here.admin,
      );
    },
  },
  {
    route: "token",
    status: 401,
    foreign: (here) => tokenBy(here, { ...here.theirs, sign: here.mine.sign }),
    absent: (here) => tokenBy(here, { ...here.theirs, device: absentId, sign: here.mine.sign }),
  },
  {
    // A code that was used tells a stranger no more than an unknown one, whatever the opening is.
    route: "enrol",
    status: 403,
    foreign: (here) => presentAgain(here, here.used.proof),
    absent: (here) => presentAgain(here, base64url(here.lab.engine.chance.bytes(32))),
  },
  {
    route: "enrol",
    status: 403,
    foreign: (here) => enrolWith(here, here.lab.engine.chance.bytes(32)),
    absent: (here) => enrolWith(here, here.lab.engine.chance.bytes(32)),
  },
];

function tokenBy({ lab }: Others, device: PushingDevice): Promise<Response> {
  return postToken(lab.url, lab.assertion(device));
}

/** A proof of that code, presented by a device that is there. */
function presentAgain({ lab, used }: Others, proof: string): Promise<Response> {
  const words = used.device.enrol({ proof, digest: "" });
  const path = words.path.map((hash) => base64(hash));
  return lab.post("/v1/enrol", { ...words, path, proof, opening: "{}" });
}

/** A code that is not there, presented with an opening of a tenant that is. */
function enrolWith({ lab, theirs }: Others, secret: Uint8Array): Promise<Response> {
  const { chance } = lab.engine;
  const device = createPushingDevice({ crypto, chance, tenant: theirs.tenant });
  const { opening, note, path, binding } = device.enrol({ proof: base64url(secret), digest: "" });
  const text = path.map((hash) => base64(hash));
  return lab.post("/v1/enrol", { proof: base64url(secret), binding, opening, note, path: text });
}

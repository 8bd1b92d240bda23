/** Two nodes of one server, a process each, on one database; devices that talk to either over HTTP. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  createHttpTransport,
  deviceBinding,
  enrolmentProof,
  type EnrolRequest,
  parseEnrolmentCode,
  type PushRequest,
  type Transport,
} from "@holdfast/core";
import { createNodeCrypto, createNodeHttp } from "@holdfast/node";
import {
  createChance,
  createInvitationCode,
  createPseudonym,
  createPushingDevice,
  type PushingDevice,
} from "@holdfast/testkit";
import { assertionOf, serverName } from "../tests/postgres/nodes.ts";
import { type Child, startChild } from "./children.ts";
import { createPostgresGround, type PostgresPlace } from "./postgres-ground.ts";
import type { ServeActs } from "./serve.ts";

const crypto = createNodeCrypto();
const serveScript = new URL("serve.ts", import.meta.url);
const names = ["a", "b"] as const;

/** One node, which may be ended and started again; its address changes then. */
export interface BenchNode {
  /** `undefined` while it is down. */
  transport(): Transport | undefined;
  /** Connections of its own: a client has few to one server. */
  another(): Transport;
  process(): Child<ServeActs>;
  start(): Promise<void>;
  /** In order, as an operator ends it. */
  end(): Promise<void>;
}

/** The nodes, and one tenant. */
export interface BenchNodes {
  readonly nodes: readonly BenchNode[];
  /** Enrolled, with its opening pushed, and a token. */
  device(): Promise<BenchDevice>;
  close(): Promise<void>;
}

export interface BenchDevice {
  readonly device: PushingDevice;
  readonly token: string;
  /** Seals events and makes the push of all that was recorded from there on. */
  push(from: number, events: number): PushRequest;
}

export async function startNodes(place: PostgresPlace, tails: number): Promise<BenchNodes> {
  const ground = await createPostgresGround(place);
  const folder = mkdtempSync(join(place.folder ?? tmpdir(), "holdfast-nodes-"));
  const clients: ReturnType<typeof createNodeHttp>[] = [];
  const connect = (url: string): Transport => {
    const http = createNodeHttp();
    clients.push(http);
    return createHttpTransport({ http }, url);
  };
  const common = {
    name: serverName,
    database_url: ground.url,
    address_connections: 10_000,
    address_requests: 10_000,
    all_requests: 10_000,
  };
  const nodes: BenchNode[] = [];
  for (const node of names) {
    const keys = node === "a" ? {} : { keys: join(folder, "a", "server.keys") };
    const one = nodeOf(connect, join(folder, node), tails, { ...common, node, ...keys });
    await one.start();
    nodes.push(one);
  }
  const chance = createChance(1);
  const tenant = createPseudonym(chance);
  let founder: BenchDevice | undefined;
  return {
    nodes,
    async device() {
      const [first] = nodes;
      const at = first?.transport();
      if (first === undefined || at === undefined) throw new Error("the first node is down");
      const device = createPushingDevice({ crypto, chance, tenant });
      if (founder === undefined) {
        const code = parseEnrolmentCode(await first.process().ask("foundingCode"));
        const proof = enrolmentProof(crypto, code.secret);
        const binding = deviceBinding(crypto, code.secret, device.opening);
        founder = await enrolled(at, device, { ...device.enrol({ proof, digest: "" }), binding });
        return founder;
      }
      const invitation = createInvitationCode({ crypto, chance });
      const { digest } = invitation;
      const expires = Date.now() + 60_000;
      await at.addCode({ digest, role: "device", expires }, { token: founder.token });
      return enrolled(at, device, device.enrol(invitation));
    },
    async close() {
      for (const http of clients) http.close();
      for (const one of nodes) await one.end();
      await ground.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function nodeOf(
  connect: (url: string) => Transport,
  data: string,
  tails: number,
  flags: Parameters<ServeActs["start"]>[2],
): BenchNode {
  let child: Child<ServeActs> | undefined;
  let transport: Transport | undefined;
  let url = "";
  return {
    transport: () => transport,
    another: () => connect(url),
    process() {
      if (child === undefined) throw new Error("the node is down");
      return child;
    },
    async start() {
      child = startChild<ServeActs>(serveScript);
      await child.ask("start", data, tails, flags);
      url = await child.ask("url");
      transport = connect(url);
    },
    async end() {
      transport = undefined;
      const ending = child;
      child = undefined;
      await ending?.end();
    },
  };
}

async function enrolled(
  at: Transport,
  device: PushingDevice,
  request: EnrolRequest,
): Promise<BenchDevice> {
  await at.enrol(request, {});
  const { accessToken: token } = await at.token({ assertion: assertionOf(device) }, {});
  await at.push(device.push(0), { token });
  return {
    device,
    token,
    push(from, events) {
      device.record(Array.from({ length: events }, () => ({})));
      return device.push(from);
    },
  };
}

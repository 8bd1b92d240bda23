/** Two nodes of one server in this process, on one database, and devices that talk to either. */
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  base64url,
  createHttpTransport,
  deviceBinding,
  deviceLogOrigin,
  enrolmentProof,
  parseEnrolmentCode,
  type Transport,
  utf8,
} from "@holdfast/core";
import { createNodeCrypto, createNodeHttp } from "@holdfast/node";
import { loadConfig, type RunningServer, startServer } from "@holdfast/server/serve";
import {
  createChance,
  createPseudonym,
  createPushingDevice,
  type PushingDevice,
} from "@holdfast/testkit";

const crypto = createNodeCrypto();
export const serverName = "nodes.test";

export interface Nodes {
  readonly folder: string;
  /** Starts a node of that name; the first one makes the keys. */
  start(
    node: string,
    flags?: NonNullable<Parameters<typeof loadConfig>[0]>["flags"],
  ): Promise<RunningServer>;
  transport(server: RunningServer): Transport;
  /** Founds a tenant at a node. */
  found(server: RunningServer): Promise<PushingDevice>;
  close(): Promise<void>;
}

export function createNodes(databaseUrl: string): Nodes {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-nodes-"));
  const running: RunningServer[] = [];
  const http = createNodeHttp();
  let keys: string | undefined;
  let founded = 0;
  const transport = (server: RunningServer): Transport => createHttpTransport({ http }, server.url);
  return {
    folder,
    async start(node, flags = {}) {
      const data = join(folder, node);
      const common = { data, node, port: 0, name: serverName, database_url: databaseUrl };
      const server = await startServer(
        loadConfig({ flags: { ...common, ...(keys !== undefined && { keys }), ...flags } }),
      );
      keys ??= join(data, "server.keys");
      running.push(server);
      return server;
    },
    transport,
    async found(server) {
      const code = parseEnrolmentCode(await server.foundingCode());
      const chance = createChance(100 + founded++);
      const founder = createPushingDevice({ crypto, chance, tenant: createPseudonym(chance) });
      const proof = enrolmentProof(crypto, code.secret);
      const binding = deviceBinding(crypto, code.secret, founder.opening);
      await transport(server).enrol({ ...founder.enrol({ proof, digest: "" }), binding }, {});
      return founder;
    },
    async close() {
      http.close();
      for (const server of running) await server.close();
      rmSync(folder, { recursive: true });
    },
  };
}

/** What a device proves itself with, once. */
export function assertionOf(device: PushingDevice): string {
  const origin = deviceLogOrigin(device);
  const now = Math.floor(Date.now() / 1_000);
  const claims = {
    iss: origin,
    sub: origin,
    aud: serverName,
    jti: randomUUID(),
    iat: now,
    exp: now + 60,
  };
  const text = (value: object): string => base64url(utf8(JSON.stringify(value)));
  const signed = `${text({ alg: "EdDSA" })}.${text(claims)}`;
  return `${signed}.${base64url(device.sign(utf8(signed)))}`;
}

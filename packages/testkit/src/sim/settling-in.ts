/** The quiet beginning of a run: stores are made, the tenant is founded, devices join and get their keys. */
import {
  base64url,
  enrolmentProof,
  formatEnrolmentCode,
  keyFingerprint,
  proofDigest,
} from "@holdfast/core";
import type { Chance } from "../chance.ts";
import { attempt, connect, type Connection } from "./connection.ts";
import type { OpenDevice } from "./device.ts";
import { type Backend, type Context, type Inhabitant, pollMs, settle } from "./inhabitants.ts";
import { LivenessError } from "./ledger.ts";
import { initSimStore } from "./sim-store.ts";

const roundsMax = 12;

/** Makes every store, and brings the devices of a run with a server into one tenant. */
export async function settleIn(context: Context, random: Chance): Promise<void> {
  const { inhabitants, backend } = context;
  const tenant = base64url(random.bytes(16));
  backend?.server.live();
  let founder: string | undefined;
  for (const inhabitant of inhabitants) {
    const { device } = inhabitant;
    const process = device.visit();
    await initSimStore(context.store, device.site, process, { tenant, founder });
    process.kill();
    device.live(
      (open) => {
        moveIn(context, inhabitant, open);
      },
      (open) => context.begin(inhabitant, open),
    );
    await context.scheduler.run({
      at: context.scheduler.now + 60_000,
      done: () => device.open !== undefined,
    });
    if (device.open === undefined) throw new LivenessError(`${device.name} does not open`);
    if (backend === undefined) continue;
    const code = await codeFor(context, backend, random, founder === undefined, inhabitant);
    await settle(context, "enrolment", connectionOf(inhabitant).enrol(code));
    // The founder gives itself access before it can invite.
    if (founder === undefined) await exchange(context, inhabitant);
    founder ??= device.open.store.status().device;
  }
  if (backend !== undefined) await shareKeys(context);
}

/** Called whenever a process has opened the store. */
export function moveIn(context: Context, inhabitant: Inhabitant, open: OpenDevice): void {
  const { backend, knobs, ledger, plant } = context;
  if (backend !== undefined) {
    const ports = {
      network: backend.network,
      plant,
      ledger,
      url: backend.server.url,
      tail: knobs.tail,
      pollMs: () => pollMs(context),
    };
    inhabitant.connected = { open, connection: connect(inhabitant.device, open, ports) };
  }
}

/** The connection of a device that is open. */
function connectionOf({ device, connected }: Inhabitant): Connection {
  if (connected === undefined || connected.open !== device.open) {
    throw new LivenessError(`${device.name} is not connected`);
  }
  return connected.connection;
}

async function codeFor(
  context: Context,
  backend: Backend,
  random: Chance,
  founding: boolean,
  { subjects }: Inhabitant,
): Promise<string> {
  const [first] = context.inhabitants;
  if (first === undefined) throw new LivenessError("nobody lives here");
  if (!founding) {
    const store = first.device.open?.store;
    const scopes = subjects?.map((words) => store?.scopeId(words) ?? "") ?? ["*"];
    return settle(context, "invitation", connectionOf(first).invite(scopes));
  }
  const { crypto } = context.store;
  const { server } = backend;
  const secret = random.bytes(32);
  const digest = proofDigest(crypto, enrolmentProof(crypto, secret));
  const hello = await server.open?.server.hello();
  const key = keyFingerprint(crypto, hello?.key ?? "");
  if (digest === undefined || key === undefined) throw new LivenessError("the server has no key");
  await settle(context, "founding", server.addFoundingCode(digest));
  const expires = Date.UTC(2100, 0, 1);
  return formatEnrolmentCode({ url: server.url, key, secret, expires, joins: undefined });
}

/** One round of sync and grants of one device. */
async function exchange(context: Context, inhabitant: Inhabitant): Promise<void> {
  const { engine, grants } = connectionOf(inhabitant);
  await settle(context, "first sync", engine.syncNow());
  const code = await settle(context, "first grants", attempt(grants()));
  if (code !== undefined) context.scheduler.note(`${inhabitant.device.name} grants ${code}`);
  await settle(context, "first sync", engine.syncNow());
}

/** Rounds of sync and grants until every device has the tenant's keys. */
async function shareKeys(context: Context): Promise<void> {
  const { inhabitants } = context;
  for (let round = 0; round < roundsMax; round++) {
    for (const inhabitant of inhabitants) {
      await exchange(context, inhabitant);
    }
    if (inhabitants.every(({ device }) => device.open?.keyring.hasPseudonymKey === true)) return;
  }
  throw new LivenessError("the devices did not get their keys");
}

/** A server and devices of one tenant, each in a process of its own, over HTTP on this machine. */
import { join } from "node:path";
import { type Child, startChild } from "./children.ts";
import type { DeviceActs } from "./device.ts";
import { createGround, type Place } from "./ground.ts";
import type { ServeActs } from "./serve.ts";

/** A device with its place. */
export interface Device extends Place {
  readonly child: Child<DeviceActs>;
}

export interface Tenant {
  readonly server: Child<ServeActs>;
  /** The device that founded the tenant: enrolled, one event in each scope, all of it pushed. */
  readonly founder: Device;
  /** A process with nothing in it, and a place for its store. */
  device(name: string): Device;
  /** A device that has joined and has every key. */
  joined(name: string): Promise<Device>;
  remove(): Promise<void>;
}

const serveScript = new URL("serve.ts", import.meta.url);
const deviceScript = new URL("device.ts", import.meta.url);

export interface TenantOptions {
  readonly folder: string | undefined;
  readonly streams: number;
  /** Live tails of one device at once. */
  readonly tails?: number;
}

/** Founds a tenant. */
export async function foundTenant(options: TenantOptions): Promise<Tenant> {
  const { folder, remove } = createGround(options.folder);
  const children: Child<never>[] = [];
  const device = (name: string): Device => {
    const child = startChild<DeviceActs>(deviceScript);
    children.push(child);
    return {
      child,
      directory: join(folder, name, "store"),
      stateDirectory: join(folder, name, "state"),
    };
  };
  const server = startChild<ServeActs>(serveScript);
  const end = async (): Promise<void> => {
    await Promise.all(children.map(async (child) => child.end()));
    await server.end();
    remove();
  };
  try {
    const code = await server.ask("start", join(folder, "server"), options.tails ?? 4);
    const founder = device("founder");
    await founder.child.ask("make", placeOf(founder));
    await founder.child.ask("open", placeOf(founder));
    await founder.child.ask("enrol", code);
    // The first event of every stream, so that keys and rows are there before any clock starts.
    await founder.child.ask("append", 0, options.streams, options.streams, options.streams);
    await founder.child.ask("sync");
    return {
      server,
      founder,
      device,
      async joined(name) {
        const invitation = await founder.child.ask("invite");
        const other = device(name);
        await enrolWith(other, invitation);
        // Its first event goes up, the founder admits it and wraps the keys to it, it takes them.
        for (const one of [other, founder, other]) await one.child.ask("sync");
        return other;
      },
      remove: end,
    };
  } catch (error) {
    await end();
    throw error;
  }
}

async function enrolWith(device: Device, code: string): Promise<void> {
  await device.child.ask("make", placeOf(device), code);
  await device.child.ask("open", placeOf(device));
  await device.child.ask("enrol", code);
}

/** What a child can be told of a device. */
export function placeOf({ directory, stateDirectory }: Place): Place {
  return { directory, stateDirectory };
}

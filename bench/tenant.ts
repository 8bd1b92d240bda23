/** A server and devices of one tenant, each in a process of its own, over HTTP on this machine. */
import { join } from "node:path";
import { type Child, startChild } from "./children.ts";
import type { DeviceActs } from "./device.ts";
import { createGround, type Place } from "./ground.ts";
import type { ServeActs } from "./serve.ts";

export type Device = Child<DeviceActs>;

export interface Tenant {
  readonly server: Child<ServeActs>;
  /** The device that founded the tenant: enrolled, one event in each stream, all of it pushed. */
  readonly founder: Device;
  /** Where the store of that device lies. */
  placeOf(name: string): Place;
  /** A process with nothing in it. */
  device(): Device;
  /** A device that has joined and has every key. */
  joined(name: string): Promise<Device>;
  remove(): Promise<void>;
}

/** Name of the device that founded the tenant. */
export const founderName = "founder";

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
  const children: Device[] = [];
  const device: Tenant["device"] = () => {
    const child = startChild<DeviceActs>(deviceScript);
    children.push(child);
    return child;
  };
  const placeOf = (name: string): Place => ({
    directory: join(folder, name, "store"),
    stateDirectory: join(folder, name, "state"),
  });
  const server = startChild<ServeActs>(serveScript);
  const end = async (): Promise<void> => {
    await Promise.all(children.map(async (child) => child.end()));
    await server.end();
    remove();
  };
  const enrolled = async (name: string, code: string, joins: boolean): Promise<Device> => {
    const child = device();
    await child.ask("make", placeOf(name), ...(joins ? [code] : []));
    await child.ask("open", placeOf(name));
    await child.ask("enrol", code);
    return child;
  };
  try {
    const code = await server.ask("start", join(folder, "server"), options.tails ?? 4);
    const founder = await enrolled(founderName, code, false);
    // The first event of every stream, so that keys and rows are there before any clock starts.
    await founder.ask("append", 0, options.streams, options.streams, options.streams);
    await founder.ask("sync");
    return {
      server,
      founder,
      placeOf,
      device,
      async joined(name) {
        const other = await enrolled(name, await founder.ask("invite"), true);
        // Its first event goes up, the founder admits it and wraps the keys to it, it takes them.
        for (const one of [other, founder, other]) await one.ask("sync");
        return other;
      },
      remove: end,
    };
  } catch (error) {
    await end();
    throw error;
  }
}

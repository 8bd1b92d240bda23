/**
 * Where a load test runs: a server, a path before it that fails as it is told to, and a device that is enrolled
 * through that path. The server is the one that was named, or one that is started here for the run.
 */
import { join } from "node:path";
import { formatEnrolmentCode, parseEnrolmentCode } from "@holdfast/core";
import type { RunningServer } from "@holdfast/server/serve";
import { type FaultProxy, startFaultProxy } from "@holdfast/server/fault-proxy";
import { createSimulatedDevice, type SimulatedDevice } from "../simulated-device.ts";

/** A server that somebody runs, and the code to enrol there. */
export interface NamedServer {
  readonly url: string;
  readonly code: string;
}

/** The parts of a run that its suites share. */
export interface Site {
  readonly device: SimulatedDevice;
  readonly proxy: FaultProxy;
  /** Another device of the same tenant with all keys; rejects with `role_insufficient` where it may not invite. */
  join(name: string): Promise<SimulatedDevice>;
  close(): Promise<void>;
}

/** What a site needs. */
export interface SiteOptions {
  readonly folder: string;
  readonly passphrase: string;
  /** `undefined`: simulated. */
  readonly server: NamedServer | undefined;
}

const invitationMs = 3_600_000;

/** Starts what is needed and enrols the device. */
export async function openSite(options: SiteOptions): Promise<Site> {
  const { folder, passphrase, server } = options;
  const ends: (() => Promise<unknown>)[] = [];
  const close = async (): Promise<void> => {
    for (const end of ends.splice(0).toReversed()) await end();
  };
  try {
    const running = server === undefined ? await startSimulated(folder) : undefined;
    if (running !== undefined) ends.push(() => running.close());
    const target = server?.url ?? running?.url ?? "";
    const code = server?.code ?? running?.code ?? (await running?.foundingCode()) ?? "";
    const proxy = await startFaultProxy(target);
    ends.push(() => proxy.close());
    const enrolled = async (name: string, text: string): Promise<SimulatedDevice> => {
      const { joins } = parseEnrolmentCode(text);
      const device = await createSimulatedDevice(name, folder, passphrase, joins);
      ends.push(() => device.close());
      await device.desk.enrol(formatEnrolmentCode({ ...parseEnrolmentCode(text), url: proxy.url }));
      return device;
    };
    const device = await enrolled("device", code);
    await device.sync();
    return {
      device,
      proxy,
      async join(name) {
        const terms = { role: "device", scopes: ["*"], lifeMs: invitationMs } as const;
        const joined = await enrolled(name, await device.desk.invite(terms));
        // Its opening goes up, the inviting device wraps the keys to it, and they come down.
        for (const each of [joined, device, joined]) await each.sync();
        return joined;
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The project's own server over real HTTP, without the bounds that keep one device from taking all of it. */
async function startSimulated(folder: string): Promise<RunningServer> {
  const { loadConfig, startServer } = await import("@holdfast/server/serve");
  const data = join(folder, "server");
  const rates = { device_rate: 1_000_000, address_rate: 1_000_000, address_requests: 10_000 };
  return startServer(loadConfig({ flags: { data, port: 0, name: "load-test", ...rates } }));
}

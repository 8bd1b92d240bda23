/** `GET /v1/devices`: every enrolled device of the caller's tenant, with its logs. */
import type { EnrolledDevice } from "@holdfast/core";
import { admit } from "../caller.ts";
import type { EngineDeps } from "../engine-deps.ts";
import type { DeviceLogRow, DeviceRow } from "../server-store.ts";
import type { Caller } from "../sync-server.ts";

export function listDevices(
  { store }: EngineDeps,
  caller: Caller,
): Promise<readonly EnrolledDevice[]> {
  return store.read(caller.tenant, async (reads) => {
    await admit(reads, caller);
    const logs = await reads.deviceLogs(caller.tenant);
    const devices = await reads.devices(caller.tenant);
    return devices.map((row) =>
      enrolledDevice(
        row,
        logs.filter(({ device }) => device === row.device),
      ),
    );
  });
}

function enrolledDevice(row: DeviceRow, logs: readonly DeviceLogRow[]): EnrolledDevice {
  const { device, role, status, enrolledAt, code, binding } = row;
  return {
    device,
    role,
    status,
    enrolledAt,
    ...(code === undefined ? {} : { code }),
    ...(binding === undefined ? {} : { binding }),
    logs: logs.map(({ incarnation, size, receivedAt, cutoff, opening }) => {
      const ended = cutoff === undefined ? {} : { cutoff };
      return { incarnation, size, receivedAt, opening, ...ended };
    }),
  };
}

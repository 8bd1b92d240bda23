/** Who may call what: an enrolled device, by its role. Whoever is not admitted learns nothing of the tenant. */
import { HoldfastError, type Role } from "@holdfast/core";
import type { DeviceRow, ServerReads } from "./server-store.ts";
import type { Caller } from "./sync-server.ts";

/** Roles that only pull. */
const readOnlyRoles: ReadonlySet<Role> = new Set<Role>(["reader", "auditor"]);

export function isReadOnly(role: Role): boolean {
  return readOnlyRoles.has(role);
}

/** The caller's row. Throws `caller_unknown` for a device of no tenant here, `device_revoked`. */
export async function admit(reads: ServerReads, caller: Caller): Promise<DeviceRow> {
  const device = await known(reads, caller);
  if (device.status === "revoked") throw new HoldfastError("device_revoked");
  return device;
}

/** As {@link admit}, for pushes: a revoked device still hands over what it recorded. */
export async function known(reads: ServerReads, caller: Caller): Promise<DeviceRow> {
  const device = await reads.device(caller.tenant, caller.device);
  if (device === undefined) throw new HoldfastError("caller_unknown");
  return device;
}

/** As {@link admit}, for roles that write. Throws `role_insufficient`. */
export async function admitWriter(reads: ServerReads, caller: Caller): Promise<DeviceRow> {
  const device = await admit(reads, caller);
  if (isReadOnly(device.role)) throw new HoldfastError("role_insufficient", { role: device.role });
  return device;
}

/** As {@link admit}, for what only an admin does. Throws `role_insufficient`. */
export async function admitAdmin(reads: ServerReads, caller: Caller): Promise<DeviceRow> {
  const device = await admit(reads, caller);
  if (device.role !== "admin") throw new HoldfastError("role_insufficient", { role: device.role });
  return device;
}

/** Verifies what the server stated of an own device log: its events must be what was receipted. */
import { base64, fromBase64url } from "../std/bytes.ts";
import { deviceLogOrigin } from "./checkpoint.ts";
import type { LogVerifyDeps, Report } from "./log-source.ts";
import { noteDigest } from "./server-leaf.ts";
import type { DeviceLogWalk } from "./verify-device-log.ts";
import type { ServerLogWalk } from "./verify-server-log.ts";

export function checkOwnReceipts(
  deps: LogVerifyDeps,
  report: Report,
  names: { readonly device: string; readonly incarnation: string },
  serverLog: ServerLogWalk,
  log: DeviceLogWalk | undefined,
): void {
  const { crypto, source } = deps;
  const { device, incarnation } = names;
  const origin = deviceLogOrigin({ tenant: deps.tenant, ...names });
  const rows = source.sync?.serverLeaves(device, incarnation) ?? [];
  serverLog.checkLost(rows, `log ${incarnation}`);
  for (const row of rows) {
    const object = `${row.kind} ${row.size} of ${incarnation}`;
    const statement = serverLog.statement(row, object);
    if (statement === undefined) continue;
    const note = source.notes(device, incarnation, row.size - 1, 1)[0];
    const agrees =
      row.kind === "enrol"
        ? statement.root === base64(fromBase64url(log?.first ?? "") ?? new Uint8Array(0))
        : note?.size === row.size &&
          statement.root === log?.rootAt(row.size) &&
          statement.note === noteDigest(crypto, note.note);
    if (statement.origin === origin && agrees) continue;
    report("receipt_wrong", object, "it is not what this store holds");
  }
}

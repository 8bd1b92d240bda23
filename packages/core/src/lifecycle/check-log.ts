/** The log of a store, checked by the stand-alone verifier with the keys of its keyring, whoever asks. */
import type { Keyring } from "../keys/keyring.ts";
import type { LogVerifyDeps } from "../proof/log-source.ts";
import { type LogVerdict, verifyLog } from "../proof/verify.ts";
import type { Crypto } from "../std/ports.ts";
import type { SqliteDriver } from "../store/sqlite-driver.ts";
import { readAccess } from "../sync/access-table.ts";
import { accountShreds } from "./shred-account.ts";
import { createStoredLog } from "./stored-log.ts";

/** What verifying stands on. */
export interface CheckLogDeps {
  readonly crypto: Crypto;
  readonly driver: SqliteDriver;
  readonly keyring: Pick<Keyring, "tenant" | "dataKey" | "signingKeys" | "shreds">;
}

/** How it is verified; what is absent by a shred is told by log and keyring unless somebody says otherwise. */
export interface CheckLogOptions extends Pick<LogVerifyDeps, "openSections"> {
  readonly allNotes?: boolean;
  readonly source?: LogVerifyDeps["source"];
  readonly isShredded?: LogVerifyDeps["isShredded"];
  readonly onProgress?: LogVerifyDeps["onProgress"];
}

/** Throws what reading the rows throws. */
export function checkLog(
  { crypto, driver, keyring }: CheckLogDeps,
  { openSections, allNotes = false, onProgress, ...given }: CheckLogOptions,
): LogVerdict {
  const keys = new Map(keyring.signingKeys().map((key) => [key.incarnation, key.spki]));
  return verifyLog({
    crypto,
    source: given.source ?? createStoredLog(driver),
    tenant: keyring.tenant,
    dataKey: (id, generation) => keyring.dataKey(id, generation),
    ownKey: (incarnation) => keys.get(incarnation),
    isShredded: given.isShredded ?? accountShreds(readAccess(driver), keyring.shreds).isShredded,
    openSections,
    allNotes,
    ...(onProgress === undefined ? {} : { onProgress }),
  });
}

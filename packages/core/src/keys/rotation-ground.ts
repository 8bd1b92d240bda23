/** What rotation and recovery of one open keyring work on. */
import type { Crypto, Random } from "../std/ports.ts";
import type { Copies } from "./copies.ts";
import type { Epoch } from "./epoch.ts";
import type { KeyringRecords } from "./keyring-records.ts";
import type { KeyProviders } from "./providers.ts";
import type { RecoveryCipher } from "./recovery-cipher.ts";

/** What rotation works on. */
export interface RotationGround {
  readonly crypto: Crypto;
  readonly random: Random;
  readonly copies: Copies;
  readonly records: KeyringRecords;
  readonly epochs: Map<string, Epoch>;
  readonly recovery?: RecoveryCipher | undefined;
  readonly providers: KeyProviders;
  /** A wrapped key has another text. */
  renamed(before: string, after: string): void;
}

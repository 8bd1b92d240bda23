/**
 * The key provider `os-keychain`: a secret that the system's keychain keeps (Secret Service on Linux, Keychain on
 * macOS, Credential Manager on Windows) and releases to this process when the user's session is unlocked.
 * Assurance `os`: whoever may use that session has the key.
 *
 * On Linux the library by itself falls back, without a word, to the kernel's keyring, which is memory: a key that
 * wraps the epoch key would be gone with the next start of the machine. So the Secret Service is pinned, and
 * `keyutils` is refused.
 */
import { createRequire } from "node:module";
import {
  type Bytes,
  createSecretProvider,
  type Crypto,
  fromHex,
  hex,
  HoldfastError,
  type KeyProvider,
  type ProviderParameters,
  type Random,
  wipe,
} from "@holdfast/core";

const serviceName = "holdfast";
const secretBytes = 32;

/** The part of `@napi-rs/keyring` that is used. */
interface KeychainEntry {
  setSecret(secret: Uint8Array): Promise<void>;
  getSecret(): Promise<Uint8Array | number[] | null | undefined>;
}
interface Keychain {
  readonly AsyncEntry: new (
    service: string,
    account: string,
    options: { readonly linux: { readonly store: string } },
  ) => KeychainEntry;
}

/** What {@link openOsKeychainProvider} takes. */
export interface OsKeychainOptions {
  readonly crypto: Crypto;
  readonly random: Random;
  /** As stored by the keyring; `undefined` makes a secret and keeps it in the keychain. */
  readonly parameters: ProviderParameters | undefined;
  /** Of Linux's stores; anything but `secret-service` is refused: `key_keychain_volatile`. */
  readonly store?: string;
}

function loadKeychain(): Keychain {
  try {
    return createRequire(import.meta.url)("@napi-rs/keyring") as Keychain;
  } catch {
    throw new HoldfastError("key_module_missing", {
      provider: "os-keychain",
      name: "@napi-rs/keyring",
    });
  }
}

/** The constructor already looks for the bus. */
function entryOf({ AsyncEntry }: Keychain, account: string, store: string): KeychainEntry {
  try {
    return new AsyncEntry(serviceName, account, { linux: { store } });
  } catch {
    throw new HoldfastError("key_provider_failed", { provider: "os-keychain", fault: "keychain" });
  }
}

/** The library's errors quote what it was told: their text stays here. */
async function asked<T>(act: string, call: Promise<T>): Promise<T> {
  try {
    return await call;
  } catch {
    throw new HoldfastError("key_provider_failed", { provider: "os-keychain", fault: act });
  }
}

/**
 * Reads the secret from the keychain, or makes one there. Throws `key_provider_failed` when the keychain does not
 * answer or is locked, `key_wrong` when it holds another secret, `key_keychain_volatile`, `key_module_missing`.
 */
export async function openOsKeychainProvider(options: OsKeychainOptions): Promise<KeyProvider> {
  const { crypto, random, parameters: stored, store = "secret-service" } = options;
  if (store !== "secret-service") throw new HoldfastError("key_keychain_volatile", { store });
  const account = stored?.["account"] ?? hex(random.bytes(8));
  if (typeof account !== "string" || fromHex(account)?.length !== 8) {
    throw new HoldfastError("key_parameters_refused", { provider: "os-keychain" });
  }
  const entry = entryOf(loadKeychain(), account, store);
  const secret = stored === undefined ? await make(entry, random) : await read(entry);
  return createSecretProvider({
    crypto,
    random,
    name: "os-keychain",
    assurance: "os",
    secret,
    stored,
    parameters: { service: serviceName, account },
  });
}

async function make(entry: KeychainEntry, random: Random): Promise<Bytes> {
  const secret = random.bytes(secretBytes);
  await asked("write", entry.setSecret(secret));
  // What a keychain says it has kept is read back before a key is wrapped with it.
  const back = await read(entry);
  if (!back.every((byte, at) => byte === secret[at])) {
    throw new HoldfastError("key_answer_wrong", { provider: "os-keychain", operation: "wrap" });
  }
  wipe(back);
  return secret;
}

async function read(entry: KeychainEntry): Promise<Bytes> {
  const found = await asked("read", entry.getSecret());
  const secret = Uint8Array.from(found ?? []);
  if (found instanceof Uint8Array) wipe(found);
  if (secret.length === secretBytes) return secret;
  throw new HoldfastError("key_provider_failed", { provider: "os-keychain", fault: "no secret" });
}

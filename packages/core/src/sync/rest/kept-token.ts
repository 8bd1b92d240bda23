/**
 * A token that outlives the process: a refresh token or the like, encrypted in a file under a key that the key
 * provider wraps. Whoever has the file alone has nothing; whoever has the provider's key has the token.
 *
 *     {"v": 1, "wrapped": base64, "box": base64(nonce 12 ‖ AES-256-GCM ciphertext ‖ tag)}
 *
 * A new key is made for every write. A file that is damaged, cut off or another provider's holds no token:
 * somebody signs in again.
 */
import type { RecordFile } from "../../keys/copies.ts";
import type { KeyProvider } from "../../keys/provider.ts";
import { base64, concat, fromBase64, fromUtf8, utf8, wipe } from "../../std/bytes.ts";
import { HoldfastError, isHoldfastError } from "../../std/errors.ts";
import { parseJson } from "../../std/json.ts";
import type { Crypto, Random } from "../../std/ports.ts";
import type { AbortSignalLike } from "../transport.ts";
import type { AccessToken, TokenSource } from "./token-source.ts";

/** Keeps one token. */
export interface KeptToken {
  /** `undefined`: there is none. */
  read(): Promise<string | undefined>;
  /** In place of the former one; durable when it resolves. */
  write(text: string): Promise<void>;
}

/** What {@link createKeptToken} needs. */
export interface KeptTokenDeps {
  readonly provider: Pick<KeyProvider, "wrap" | "unwrap">;
  readonly crypto: Crypto;
  readonly random: Random;
  readonly file: Pick<RecordFile, "read" | "replace">;
}

const context = utf8("holdfast/kept-token/v1");
const nonceBytes = 12;

/** A token in a file. */
export function createKeptToken(deps: KeptTokenDeps): KeptToken {
  const { provider, crypto, random, file } = deps;
  return {
    async read() {
      const parts = partsOf(file.read());
      if (parts === undefined) return undefined;
      const key = await unwrapped(provider, parts.wrapped);
      if (key === null) return undefined;
      const nonce = parts.box.subarray(0, nonceBytes);
      const plain = crypto.aead(key).decrypt(nonce, parts.box.subarray(nonceBytes), context);
      wipe(key);
      if (plain === undefined) return undefined;
      const text = fromUtf8(plain);
      wipe(plain);
      return text;
    },
    async write(text) {
      const key = random.bytes(32);
      const nonce = random.bytes(nonceBytes);
      const plain = utf8(text);
      const box = concat(nonce, crypto.aead(key).encrypt(nonce, plain, context));
      const wrapped = await provider.wrap(key, context);
      wipe(key, plain);
      file.replace(utf8(JSON.stringify({ v: 1, wrapped: base64(wrapped), box: base64(box) })));
    },
  };
}

/** `null`: wrapped by another provider's key, or damaged. */
async function unwrapped(
  provider: KeptTokenDeps["provider"],
  wrapped: Uint8Array,
): Promise<Uint8Array | null> {
  try {
    return await provider.unwrap(wrapped, context);
  } catch (error) {
    if (isHoldfastError(error, "key_unwrap_failed")) return null;
    throw error;
  }
}

function partsOf(
  content: Uint8Array | undefined,
): { readonly wrapped: Uint8Array; readonly box: Uint8Array } | undefined {
  if (content === undefined) return undefined;
  try {
    const { v, wrapped, box } = parseJson(content) as Readonly<Record<string, unknown>>;
    const bytes = [wrapped, box].map((text) =>
      typeof text === "string" ? fromBase64(text) : undefined,
    );
    const [key, secret] = bytes;
    const fits = v === 1 && key !== undefined && secret !== undefined && secret.length > nonceBytes;
    return fits ? { wrapped: key, box: secret } : undefined;
  } catch (error) {
    if (isHoldfastError(error)) return undefined;
    throw error;
  }
}

/** What a renewal gave: the token to use, and the one to keep when it is another. */
export interface RenewedToken {
  readonly access: AccessToken;
  readonly keep?: string;
}

/**
 * Tokens that are renewed with a kept one. `renew` asks the backend's token endpoint: it throws `token_refused`
 * when the kept token is no good any more, and what a network throws.
 */
export function createRenewedTokens(
  kept: KeptToken,
  renew: (keptText: string, signal: AbortSignalLike) => Promise<RenewedToken>,
): TokenSource {
  return {
    async token({ signal }) {
      const text = await kept.read();
      if (text === undefined) throw new HoldfastError("token_refused", { part: "kept" });
      const { access, keep } = await renew(text, signal);
      // Before the new access token is used: the former one may be good only once.
      if (keep !== undefined && keep !== text) await kept.write(keep);
      return access;
    },
  };
}

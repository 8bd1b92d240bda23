/** A data key as its holders use it: its bytes stay inside. */
import { type Bytes, utf8 } from "../std/bytes.ts";
import type { Crypto } from "../std/ports.ts";
import type { DataKeyRecord } from "./record.ts";

const one = Uint8Array.of(1);

/** A data key of one scope and section class. Its bytes are not readable; only frame keys come out. */
export interface DataKey {
  readonly id: string;
  readonly scope: string;
  readonly section: string;
  readonly generation: number;
  /**
   * The AES-256 key of one frame: HKDF-Expand (RFC 5869 §2.3, 32 bytes) of the data key with info
   * "holdfast/aead/v1|" ‖ section ‖ leaf. The caller wipes it.
   */
  frameKey(section: string, leaf: Uint8Array): Bytes;
}

/** A data key by its names. */
export type HeldDataKey = Pick<DataKey, "id" | "scope" | "section" | "generation">;

/** A data key in the open: what a grant carries. Whoever receives it wipes `key`. */
export interface DataKeyMaterial {
  readonly id: string;
  readonly scope: string;
  readonly section: string;
  readonly generation: number;
  readonly key: Bytes;
}

/** The caller wipes the key afterwards. */
export function dataKeyOver(
  crypto: Crypto,
  record: DataKeyRecord,
  key: Uint8Array,
  checkOpen: () => unknown,
): DataKey {
  const mac = crypto.hmac(key);
  const { id, scope, section, generation } = record;
  return {
    id,
    scope,
    section,
    generation,
    frameKey(name, leaf) {
      checkOpen();
      return mac.mac(utf8(`holdfast/aead/v1|${name}`), leaf, one);
    },
  };
}

/** A data key as its holders use it: its bytes stay inside. */
import { utf8 } from "../std/bytes.ts";
import type { Crypto } from "../std/ports.ts";
import type { DataKey } from "./keyring.ts";
import type { DataKeyRecord } from "./record.ts";

const one = Uint8Array.of(1);

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

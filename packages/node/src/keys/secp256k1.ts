/** Forms of secp256k1 keys and signatures (SEC 2 §2.4.1, BIP-62 rule 5): for transactions, not for device logs. */
import { type Bytes, concat, fromHex, invariant } from "@holdfast/core";

const spkiPrefix = fromHex("3056301006072a8648ce3d020106052b8104000a034200");
const order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;

/** SPKI of an uncompressed point. */
export function secp256k1Spki(point: Bytes): Bytes {
  invariant(spkiPrefix !== undefined && point.length === 65, "a point has 65 bytes");
  return concat(spkiPrefix, point);
}

/** r ‖ s with s in the lower half of the order. */
export function secp256k1LowS(signature: Bytes): Bytes {
  const s = BigInt(`0x${Buffer.from(signature.subarray(32)).toString("hex")}`);
  if (s <= order / 2n) return signature;
  const low = Buffer.from((order - s).toString(16).padStart(64, "0"), "hex");
  return concat(signature.slice(0, 32), Uint8Array.from(low));
}

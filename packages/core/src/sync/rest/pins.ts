/**
 * Certificate pins: SHA-256 of a certificate's DER SubjectPublicKeyInfo, as `sha256/<base64>` (RFC 7469 §2.4).
 * Pinned is the key of the server's own certificate, so that neither another authority nor an intermediate can
 * stand in for it. A set holds at least two: who loses the one key in use must have another one to go on with.
 *
 * A rotation needs no downtime: set old and new pins together, change the server's key, set new and next.
 */
import { fromBase64 } from "../../std/bytes.ts";
import { HoldfastError } from "../../std/errors.ts";

const pinsMin = 2;
const pinsMax = 16;

/** A set of pins that was checked: base64 digests. Throws `pins_invalid`. */
export function parsePins(pins: readonly string[]): ReadonlySet<string> {
  const digests = new Set<string>();
  for (const [at, pin] of pins.entries()) {
    const digest = /^sha256\/([A-Za-z0-9+/]{43}=)$/.exec(pin)?.[1];
    if (digest === undefined || fromBase64(digest)?.length !== 32) {
      throw new HoldfastError("pins_invalid", { pin: at, reason: "not sha256/<base64>" });
    }
    if (digests.has(digest)) throw new HoldfastError("pins_invalid", { pin: at, reason: "twice" });
    digests.add(digest);
  }
  if (digests.size < pinsMin || digests.size > pinsMax) {
    const reason = `${pinsMin} to ${pinsMax}, one of them a backup`;
    throw new HoldfastError("pins_invalid", { pins: digests.size, reason });
  }
  return digests;
}

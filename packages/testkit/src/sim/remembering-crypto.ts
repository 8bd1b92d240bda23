/**
 * Cryptography of a whole world in one process: what one machine has computed, the next need not compute
 * again. Devices and server check the same signatures of the same bytes, and every opening of a store imports
 * the same keys; a function without state gives the same answer each time.
 */
import type { Crypto } from "@holdfast/core";

const verifiedMax = 20_000;
const signersMax = 256;

const latin1 = ({ buffer, byteOffset, byteLength }: Uint8Array): string =>
  Buffer.from(buffer, byteOffset, byteLength).toString("latin1");

/** Answers of `verify` and imported private keys are kept; everything else is `crypto`'s. */
export function rememberingCrypto(crypto: Crypto): Crypto {
  const verified = new Map<string, boolean>();
  const signers = new Map<string, ReturnType<Crypto["signer"]>>();
  return {
    ...crypto,
    verify(algorithm, spki, message, signature) {
      // Lengths keep two different calls from having one name.
      const name = `${algorithm} ${spki.length} ${signature.length} ${latin1(spki)}${latin1(signature)}${latin1(message)}`;
      const known = verified.get(name);
      if (known !== undefined) return known;
      const answer = crypto.verify(algorithm, spki, message, signature);
      if (verified.size >= verifiedMax) verified.clear();
      verified.set(name, answer);
      return answer;
    },
    signer(algorithm, privateKey) {
      const name = `${algorithm} ${latin1(privateKey)}`;
      const known = signers.get(name);
      if (known !== undefined) return known;
      const made = crypto.signer(algorithm, privateKey);
      if (signers.size >= signersMax) signers.clear();
      signers.set(name, made);
      return made;
    },
  };
}

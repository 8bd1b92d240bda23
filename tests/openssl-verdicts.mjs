// What this Node's OpenSSL says about signatures, without the signature profile. Plain JavaScript, so that
// Node 20 runs it. Input on stdin: JSON array of [algorithm, SPKI, message, signature], hex; output on
// stdout: one character for each, 1 = valid.
import { createPublicKey, verify } from "node:crypto";
import { readFileSync } from "node:fs";

const bytes = (text) => Buffer.from(text, "hex");

function verdict([algorithm, spki, message, signature]) {
  let key;
  try {
    key = createPublicKey({ key: bytes(spki), format: "der", type: "spki" });
  } catch {
    return false;
  }
  return algorithm === "ed25519"
    ? verify(null, bytes(message), key, bytes(signature))
    : verify("sha256", bytes(message), { key, dsaEncoding: "ieee-p1363" }, bytes(signature));
}

const cases = JSON.parse(readFileSync(0, "utf8"));
process.stdout.write(cases.map((one) => (verdict(one) ? "1" : "0")).join(""));

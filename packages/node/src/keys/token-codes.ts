/**
 * Numbers of PKCS#11 2.40, and of 3.0 for the Edwards curves, which the binding has no names for; and what its error
 * codes mean to us.
 */
import type { TokenAlgorithm, TokenFault } from "./token-messages.ts";

/** A failure with the kind of it; the name is that of PKCS#11, never data. */
export class TokenError extends Error {
  override readonly name = "TokenError";
  readonly fault: TokenFault;

  constructor(fault: TokenFault, name: string) {
    super(name);
    this.fault = fault;
  }
}

export const ckm = {
  rsaKeyPair: 0x0,
  rsaOaep: 0x9,
  sha256: 0x250,
  aesKey: 0x1080,
  aesGcm: 0x1087,
  ecKeyPair: 0x1040,
  ecdsa: 0x1041,
  edKeyPair: 0x1055,
  eddsa: 0x1057,
} as const;
export const cka = {
  class: 0x0,
  token: 0x1,
  private: 0x2,
  label: 0x3,
  keyType: 0x100,
  id: 0x102,
  sensitive: 0x103,
  encrypt: 0x104,
  decrypt: 0x105,
  sign: 0x108,
  verify: 0x10a,
  modulus: 0x120,
  modulusBits: 0x121,
  exponent: 0x122,
  valueLength: 0x161,
  extractable: 0x162,
  ecParams: 0x180,
  ecPoint: 0x181,
} as const;
export const cko = { public: 2, private: 3, secret: 4 } as const;
export const ckk = { rsa: 0, ec: 3, aes: 0x1f, edwards: 0x40 } as const;
export const ckfHardwareSlot = 4;
export const ckfSerialRw = 4 | 2;
export const ckuUser = 1;
export const ckgMgf1Sha256 = 2;
export const ckzSourceGiven = 1;
export const labelOfWrapKey = "holdfast-wrap";
export const labelOfSigningKey = "holdfast-sign";

/** Named curves as DER object identifiers. */
export const curves: Readonly<Record<TokenAlgorithm, Buffer>> = {
  ed25519: Buffer.from("06032b6570", "hex"),
  "ecdsa-p256": Buffer.from("06082a8648ce3d030107", "hex"),
  "ecdsa-secp256k1": Buffer.from("06052b8104000a", "hex"),
};

/** What a session that lost its token, its login or its sense answers with. */
export const stale = new Set([
  "CKR_OBJECT_HANDLE_INVALID",
  "CKR_KEY_HANDLE_INVALID",
  "CKR_SESSION_HANDLE_INVALID",
  "CKR_SESSION_CLOSED",
  "CKR_USER_NOT_LOGGED_IN",
  "CKR_OPERATION_ACTIVE",
  "CKR_DEVICE_REMOVED",
  "CKR_TOKEN_NOT_PRESENT",
  "CKR_SLOT_ID_INVALID",
  "CKR_GENERAL_ERROR",
  "CKR_FUNCTION_FAILED",
  "CKR_DEVICE_ERROR",
]);
export const refusedPin = new Set([
  "CKR_PIN_INCORRECT",
  "CKR_PIN_LOCKED",
  "CKR_PIN_INVALID",
  "CKR_PIN_LEN_RANGE",
  "CKR_PIN_EXPIRED",
]);
export const refusedBytes = new Set([
  "CKR_ENCRYPTED_DATA_INVALID",
  "CKR_ENCRYPTED_DATA_LEN_RANGE",
  "CKR_DATA_INVALID",
  "CKR_DATA_LEN_RANGE",
  "CKR_ARGUMENTS_BAD",
  "CKR_GENERAL_ERROR",
  "CKR_FUNCTION_FAILED",
]);

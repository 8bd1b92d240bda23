/** What a process that holds a PKCS#11 token is asked, and what it says. */

/** Algorithms of signing keys on tokens. */
export type TokenAlgorithm = "ed25519" | "ecdsa-p256" | "ecdsa-secp256k1";

/** How a token wraps: AES-256-GCM inside it, or RSA-OAEP (SHA-256) around a key for AES-256-GCM outside. */
export type TokenWrap = "aes-gcm" | "rsa-oaep";

/** Asked of the process. */
export type TokenRequest =
  | {
      readonly ask: "open";
      /** Path of the PKCS#11 module. */
      readonly module: string;
      readonly token: string;
      /** What the module reads of the environment. */
      readonly environment: Readonly<Record<string, string>>;
      /** Zeroed by the process once it is logged in. */
      readonly pin: Uint8Array;
      /** CKA_ID of the wrapping key; absent: one is made. */
      readonly key?: Uint8Array;
      /** Absent: what the token can do best. */
      readonly wrap?: TokenWrap;
    }
  | {
      readonly ask: "encrypt";
      readonly nonce: Uint8Array;
      readonly aad: Uint8Array;
      readonly plain: Uint8Array;
    }
  | {
      readonly ask: "decrypt";
      readonly nonce: Uint8Array;
      readonly aad: Uint8Array;
      readonly cipher: Uint8Array;
    }
  | { readonly ask: "decrypt-oaep"; readonly cipher: Uint8Array }
  | { readonly ask: "generate"; readonly algorithm: TokenAlgorithm; readonly id: Uint8Array }
  | { readonly ask: "find"; readonly id: Uint8Array }
  | {
      readonly ask: "sign";
      readonly algorithm: TokenAlgorithm;
      readonly id: Uint8Array;
      readonly message: Uint8Array;
    }
  | { readonly ask: "close" };

/** A request on its way. */
export interface TokenEnvelope {
  /** The answer repeats it. */
  readonly number: number;
  /** Which of the openings. */
  readonly of: number;
  readonly request: TokenRequest;
}

/** The token that was opened. */
export interface OpenedToken {
  /** Which of the process's openings it is. */
  readonly of: number;
  readonly key: Uint8Array;
  readonly wrap: TokenWrap;
  readonly serial: string;
  readonly model: string;
  /** CKF_HW_SLOT of the slot (PKCS#11 2.40 §4.2). */
  readonly hardware: boolean;
  readonly algorithms: readonly TokenAlgorithm[];
  /** Does the token let its wrapping key be read, or exported under another key? */
  readonly extractable: boolean;
  /** Of an RSA key: modulus and exponent. */
  readonly rsa?: { readonly modulus: Uint8Array; readonly exponent: Uint8Array };
}

/** Why there is no answer. */
export type TokenFault =
  /** PKCS#11 module or its Node binding cannot be loaded. */
  | "module"
  /** No slot holds a token of that label. */
  | "token"
  /** The PIN was refused; the process will not try it again. */
  | "pin"
  /** No such key on the token, which has the wrapping key. */
  | "key"
  /** The token refuses the bytes: they are not what it made. */
  | "bytes"
  /** The token's own failure; `name` says which. */
  | "device";

/** Answer to the request of that number. */
export type TokenAnswer =
  | { readonly number: number; readonly value: unknown }
  | { readonly number: number; readonly fault: TokenFault; readonly name: string };

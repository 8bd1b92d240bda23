/**
 * The part of the PKCS#11 binding `pkcs11js` that is used, as a structure: the package compiles when it is
 * installed, so it is an optional peer, and everything else is built without it.
 */
import { createRequire } from "node:module";

/** Handles of slots, sessions and objects are buffers that the binding fills. */
type Handle = Buffer;

/** One attribute of an object; without a value: to be read. */
export interface Attribute {
  readonly type: number;
  readonly value?: number | boolean | string | Buffer;
}

/** What an operation uses, with the binding's own form of its parameter. */
export interface Mechanism {
  readonly mechanism: number;
  readonly parameter?: Readonly<Record<string, unknown>>;
}

/** Functions of PKCS#11 2.40 §5 as the binding offers them, synchronous. */
export interface Cryptoki {
  load(path: string): void;
  C_Initialize(): void;
  C_Finalize(): void;
  C_GetSlotList(tokenPresent: boolean): Handle[];
  C_GetSlotInfo(slot: Handle): { readonly flags: number };
  C_GetTokenInfo(slot: Handle): {
    readonly label: string;
    readonly model: string;
    readonly serialNumber: string;
  };
  C_GetMechanismList(slot: Handle): number[];
  C_OpenSession(slot: Handle, flags: number): Handle;
  C_CloseSession(session: Handle): void;
  C_Login(session: Handle, user: number, pin: string): void;
  C_FindObjectsInit(session: Handle, template: readonly Attribute[]): void;
  C_FindObjects(session: Handle, most: number): Handle[];
  C_FindObjectsFinal(session: Handle): void;
  C_GetAttributeValue(
    session: Handle,
    object: Handle,
    template: readonly Attribute[],
  ): readonly { readonly type: number; readonly value: Buffer }[];
  C_GenerateRandom(session: Handle, into: Buffer): Buffer;
  C_GenerateKey(session: Handle, mechanism: Mechanism, template: readonly Attribute[]): Handle;
  C_GenerateKeyPair(
    session: Handle,
    mechanism: Mechanism,
    publicTemplate: readonly Attribute[],
    privateTemplate: readonly Attribute[],
  ): { readonly publicKey: Handle; readonly privateKey: Handle };
  C_EncryptInit(session: Handle, mechanism: Mechanism, key: Handle): void;
  C_Encrypt(session: Handle, data: Buffer, into: Buffer): Buffer;
  C_DecryptInit(session: Handle, mechanism: Mechanism, key: Handle): void;
  C_Decrypt(session: Handle, data: Buffer, into: Buffer): Buffer;
  C_SignInit(session: Handle, mechanism: Mechanism, key: Handle): void;
  C_Sign(session: Handle, data: Buffer, into: Buffer): Buffer;
}

/** The binding's own numbers of parameter forms: CK_PARAMS_AES_GCM_v240 and CK_PARAMS_RSA_OAEP. */
export const parameterForms = { gcm: 7, oaep: 4 } as const;

/** A binding that has loaded no module yet. Throws `MODULE_NOT_FOUND` when it is not installed. */
export function createCryptoki(): Cryptoki {
  const binding = createRequire(import.meta.url)("pkcs11js") as {
    readonly PKCS11: new () => Cryptoki;
  };
  return new binding.PKCS11();
}

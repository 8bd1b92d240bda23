/**
 * A PKCS#11 token as this process uses it: one session, logged in once, keys found by CKA_ID.
 *
 * Sessions and handles go stale: a token that was taken out gives `CKR_OBJECT_HANDLE_INVALID` for ever, also
 * after its return, and a stray `C_SignInit` leaves a session that answers nothing but
 * `CKR_OPERATION_ACTIVE`. So after any such failure the session is closed, opened anew, logged in, the keys are
 * found again, and the call is repeated once. Closing the last session logs out.
 */
import {
  type Attribute,
  createCryptoki,
  type Cryptoki,
  type Mechanism,
  parameterForms,
} from "./token-binding.ts";
import {
  cka,
  ckfHardwareSlot,
  ckfSerialRw,
  ckgMgf1Sha256,
  ckk,
  ckm,
  cko,
  ckuUser,
  ckzSourceGiven,
  curves,
  labelOfSigningKey,
  labelOfWrapKey,
  refusedBytes,
  refusedPin,
  stale,
  TokenError,
} from "./token-codes.ts";
import type { OpenedToken, TokenAlgorithm, TokenRequest, TokenWrap } from "./token-messages.ts";

/** May it be over once the session is made anew? */
function mayPass(error: unknown): boolean {
  if (!(error instanceof TokenError)) return stale.has(nameOf(error));
  const { fault, message } = error;
  // A device that is out of room says the same as of bytes that are wrong.
  return fault === "key" || ((fault === "device" || fault === "bytes") && stale.has(message));
}

/** The token, open. */
export interface Token {
  readonly opened: Omit<OpenedToken, "of">;
  answer(request: Exclude<TokenRequest, { readonly ask: "open" | "close" }>): unknown;
  close(): void;
}

function nameOf(error: unknown): string {
  const { name, message } = error as { readonly name?: unknown; readonly message?: unknown };
  const found = /CKR_[A-Z0-9_]+/.exec(`${String(name)} ${String(message)}`)?.[0];
  return found ?? (error instanceof TokenError ? error.message : "unknown");
}

function loadModule(path: string): Cryptoki {
  try {
    const module = createCryptoki();
    module.load(path);
    return module;
  } catch (error) {
    const missing = (error as { readonly code?: unknown }).code === "MODULE_NOT_FOUND";
    throw new TokenError("module", missing ? "pkcs11js" : "module");
  }
}

/** Opens the token of that label, or gives the link to it that there is. */
export type OpenLink = (request: Extract<TokenRequest, { readonly ask: "open" }>) => TokenLink;

interface TokenLink {
  readonly module: Cryptoki;
  readonly slot: () => Buffer;
  readonly link: Link;
}

/** One session for each token: a TPM without a resource manager has room for no more. */
export function createLinks(): OpenLink {
  const modules = new Map<string, Cryptoki>();
  const links = new Map<string, TokenLink>();
  return ({ module: path, token, pin, environment }) => {
    const name = `${path}\n${token}`;
    const known = links.get(name);
    if (known !== undefined) return known;
    let module = modules.get(path);
    if (module === undefined) {
      Object.assign(process.env, environment);
      module = loadModule(path);
      modules.set(path, module);
      initialise(module);
    }
    const made = createLink(module, slotOf(module, token), token, Buffer.from(pin));
    const link = { module, slot: () => made.slot(), link: made };
    links.set(name, link);
    return link;
  };
}

/** Finds the wrapping key on the token, or makes one. Throws {@link TokenError}. */
export function openToken(
  openLink: OpenLink,
  request: Extract<TokenRequest, { readonly ask: "open" }>,
): Token {
  const { module, link, ...at } = openLink(request);
  request.pin.fill(0);
  const slot = at.slot();
  const mechanisms = new Set(module.C_GetMechanismList(slot));
  const wrap: TokenWrap = request.wrap ?? (mechanisms.has(ckm.aesGcm) ? "aes-gcm" : "rsa-oaep");
  const key = request.key ?? link.run((session) => makeWrapKey(module, session, wrap));
  const kind = wrap === "aes-gcm" ? cko.secret : cko.private;
  const wrapKey = (): Buffer => link.find(kind, key);
  const opened = link.run((session) =>
    describe(module, session, { slot, mechanisms, wrap, key, handle: wrapKey() }),
  );
  return {
    opened,
    answer(asked) {
      return link.run((session) => perform(module, session, link, { wrapKey, key, kind }, asked));
    },
    close() {
      link.close();
    },
  };
}

function initialise(module: Cryptoki): void {
  try {
    module.C_Initialize();
  } catch (error) {
    // Another part of the process was first: just as well.
    if (nameOf(error) !== "CKR_CRYPTOKI_ALREADY_INITIALIZED") {
      throw new TokenError("device", nameOf(error));
    }
  }
}

function restart(module: Cryptoki): void {
  try {
    module.C_Finalize();
  } catch {
    // Then it has not been initialised.
  }
  initialise(module);
}

function slotOf(module: Cryptoki, label: string): Buffer {
  const slots = attempt(() => module.C_GetSlotList(true));
  const found = slots.find((slot) => {
    try {
      return module.C_GetTokenInfo(slot).label.trim() === label;
    } catch {
      return false;
    }
  });
  if (found === undefined) throw new TokenError("token", "CKR_TOKEN_NOT_PRESENT");
  return found;
}

function attempt<T>(run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (error instanceof TokenError) throw error;
    const name = nameOf(error);
    throw new TokenError(refusedPin.has(name) ? "pin" : "device", name);
  }
}

/** The session, and the handles that were found in it. */
interface Link {
  slot(): Buffer;
  run<T>(work: (session: Buffer) => T): T;
  /** Throws `key` when there is none of that id. */
  find(kind: number, id: Uint8Array): Buffer;
  close(): void;
}

function createLink(module: Cryptoki, first: Buffer, label: string, pin: Buffer): Link {
  let slot = first;
  let session: Buffer | undefined;
  let refused = false;
  const handles = new Map<string, Buffer>();

  function end(): void {
    handles.clear();
    const before = session;
    session = undefined;
    if (before === undefined) return;
    try {
      module.C_CloseSession(before);
    } catch {
      // A session that does not close has gone with its token.
    }
  }

  function begin(): Buffer {
    if (session !== undefined) return session;
    if (refused) throw new TokenError("pin", "CKR_PIN_INCORRECT");
    const made = attempt(() => module.C_OpenSession(slot, ckfSerialRw));
    session = made;
    try {
      module.C_Login(made, ckuUser, pin.toString("utf8"));
    } catch (error) {
      const name = nameOf(error);
      if (name === "CKR_USER_ALREADY_LOGGED_IN") return made;
      end();
      refused = refusedPin.has(name);
      throw new TokenError(refused ? "pin" : "device", name);
    }
    return made;
  }

  function run<T>(work: (session: Buffer) => T): T {
    try {
      return work(begin());
    } catch (error) {
      if (!mayPass(error))
        throw error instanceof TokenError ? error : new TokenError("device", nameOf(error));
    }
    // Once more, from the beginning: a module that saw its token vanish may never look again by itself.
    end();
    restart(module);
    slot = slotOf(module, label);
    return attempt(() => work(begin()));
  }

  return {
    slot: () => slot,
    run,
    find(kind, id) {
      const name = `${kind} ${Buffer.from(id).toString("hex")}`;
      const known = handles.get(name);
      if (known !== undefined) return known;
      const found = findOne(module, begin(), kind, id);
      if (found === undefined) throw new TokenError("key", "CKR_KEY_HANDLE_INVALID");
      handles.set(name, found);
      return found;
    },
    close() {
      end();
      pin.fill(0);
      try {
        module.C_Finalize();
      } catch {
        // The process ends anyway.
      }
    },
  };
}

function findOne(
  module: Cryptoki,
  session: Buffer,
  kind: number,
  id: Uint8Array,
): Buffer | undefined {
  module.C_FindObjectsInit(session, [
    { type: cka.class, value: kind },
    { type: cka.id, value: Buffer.from(id) },
  ]);
  try {
    return module.C_FindObjects(session, 1)[0];
  } finally {
    module.C_FindObjectsFinal(session);
  }
}

const kept: readonly Attribute[] = [
  { type: cka.token, value: true },
  { type: cka.private, value: true },
  { type: cka.sensitive, value: true },
  { type: cka.extractable, value: false },
];

function makeWrapKey(module: Cryptoki, session: Buffer, wrap: TokenWrap): Buffer {
  const id = module.C_GenerateRandom(session, Buffer.alloc(8));
  const named: readonly Attribute[] = [
    { type: cka.id, value: id },
    { type: cka.label, value: labelOfWrapKey },
  ];
  if (wrap === "aes-gcm") {
    module.C_GenerateKey(session, { mechanism: ckm.aesKey }, [
      ...named,
      ...kept,
      { type: cka.class, value: cko.secret },
      { type: cka.keyType, value: ckk.aes },
      { type: cka.valueLength, value: 32 },
      { type: cka.encrypt, value: true },
      { type: cka.decrypt, value: true },
    ]);
    return id;
  }
  module.C_GenerateKeyPair(
    session,
    { mechanism: ckm.rsaKeyPair },
    [
      ...named,
      { type: cka.token, value: true },
      { type: cka.encrypt, value: true },
      { type: cka.modulusBits, value: 2_048 },
      { type: cka.exponent, value: Buffer.from([1, 0, 1]) },
    ],
    [...named, ...kept, { type: cka.decrypt, value: true }],
  );
  return id;
}

function describe(
  module: Cryptoki,
  session: Buffer,
  found: {
    readonly slot: Buffer;
    readonly mechanisms: ReadonlySet<number>;
    readonly wrap: TokenWrap;
    readonly key: Uint8Array;
    readonly handle: Buffer;
  },
): Omit<OpenedToken, "of"> {
  const { slot, mechanisms, wrap, key, handle } = found;
  const token = module.C_GetTokenInfo(slot);
  const [sensitive, extractable] = module.C_GetAttributeValue(session, handle, [
    { type: cka.sensitive },
    { type: cka.extractable },
  ]);
  const isSet = (value: unknown): boolean => Buffer.isBuffer(value) && value[0] === 1;
  return {
    key: Uint8Array.from(key),
    wrap,
    serial: token.serialNumber.trim(),
    model: token.model.trim(),
    hardware: (module.C_GetSlotInfo(slot).flags & ckfHardwareSlot) !== 0,
    algorithms: algorithmsOf(module, slot, mechanisms),
    extractable: isSet(extractable?.value) || !isSet(sensitive?.value),
    ...(wrap === "rsa-oaep" ? { rsa: rsaPublic(module, session, key) } : {}),
  };
}

/** A TPM lists ECDSA and has no secp256k1; only tokens in software have every curve. */
function algorithmsOf(
  module: Cryptoki,
  slot: Buffer,
  mechanisms: ReadonlySet<number>,
): readonly TokenAlgorithm[] {
  const isTpm = module.C_GetTokenInfo(slot).model.includes("TPM");
  return [
    ...(mechanisms.has(ckm.eddsa) && mechanisms.has(ckm.edKeyPair) ? (["ed25519"] as const) : []),
    ...(mechanisms.has(ckm.ecdsa) ? (["ecdsa-p256"] as const) : []),
    ...(mechanisms.has(ckm.ecdsa) && !isTpm ? (["ecdsa-secp256k1"] as const) : []),
  ];
}

function rsaPublic(
  module: Cryptoki,
  session: Buffer,
  key: Uint8Array,
): { readonly modulus: Uint8Array; readonly exponent: Uint8Array } {
  const handle = findOne(module, session, cko.public, key);
  if (handle === undefined) throw new TokenError("key", "CKR_KEY_HANDLE_INVALID");
  const [modulus, exponent] = module.C_GetAttributeValue(session, handle, [
    { type: cka.modulus },
    { type: cka.exponent },
  ]);
  return { modulus: bytesOf(modulus?.value), exponent: bytesOf(exponent?.value) };
}

function bytesOf(value: unknown): Uint8Array {
  if (!Buffer.isBuffer(value)) throw new TokenError("device", "CKR_ATTRIBUTE_TYPE_INVALID");
  return Uint8Array.from(value);
}

interface WrapKey {
  readonly wrapKey: () => Buffer;
  readonly key: Uint8Array;
  readonly kind: number;
}

function perform(
  module: Cryptoki,
  session: Buffer,
  link: Link,
  { wrapKey, key, kind }: WrapKey,
  request: Exclude<TokenRequest, { readonly ask: "open" | "close" }>,
): unknown {
  switch (request.ask) {
    case "encrypt": {
      module.C_EncryptInit(session, gcm(request.nonce, request.aad), wrapKey());
      const plain = Buffer.from(request.plain);
      const out = module.C_Encrypt(session, plain, Buffer.alloc(plain.length + 16));
      plain.fill(0);
      request.plain.fill(0);
      return Uint8Array.from(out);
    }
    case "decrypt":
      return decrypted(module, session, wrapKey, gcm(request.nonce, request.aad), request.cipher);
    case "decrypt-oaep":
      return decrypted(module, session, wrapKey, oaep(), request.cipher);
    case "generate":
      return generate(module, session, request.algorithm, request.id);
    case "find": {
      if (findOne(module, session, cko.private, request.id) !== undefined) return true;
      // Nothing is there: the key, or the whole token?
      if (findOne(module, session, kind, key) !== undefined) return false;
      throw new TokenError("key", "CKR_TOKEN_NOT_PRESENT");
    }
    case "sign": {
      const handle = link.find(cko.private, request.id);
      const mechanism = request.algorithm === "ed25519" ? ckm.eddsa : ckm.ecdsa;
      module.C_SignInit(session, { mechanism }, handle);
      return Uint8Array.from(
        module.C_Sign(session, Buffer.from(request.message), Buffer.alloc(256)),
      );
    }
    default:
      return request satisfies never;
  }
}

function gcm(nonce: Uint8Array, aad: Uint8Array): Mechanism {
  const [iv, additional] = [Buffer.from(nonce), Buffer.from(aad)];
  const parameter = { type: parameterForms.gcm, iv, aad: additional, ivBits: 96, tagBits: 128 };
  return { mechanism: ckm.aesGcm, parameter };
}

function oaep(): Mechanism {
  const parameter = {
    type: parameterForms.oaep,
    hashAlg: ckm.sha256,
    mgf: ckgMgf1Sha256,
    source: ckzSourceGiven,
  };
  return { mechanism: ckm.rsaOaep, parameter };
}

/** Tokens say with the same codes that bytes are wrong and that they are broken: the wrapping key decides. */
function decrypted(
  module: Cryptoki,
  session: Buffer,
  wrapKey: () => Buffer,
  mechanism: Mechanism,
  cipher: Uint8Array,
): Uint8Array {
  const handle = wrapKey();
  try {
    module.C_DecryptInit(session, mechanism, handle);
    const out = module.C_Decrypt(session, Buffer.from(cipher), Buffer.alloc(512));
    const plain = Uint8Array.from(out);
    out.fill(0);
    return plain;
  } catch (error) {
    if (!refusedBytes.has(nameOf(error)) || !isThere(module, session, handle)) throw error;
    throw new TokenError("bytes", nameOf(error));
  }
}

function isThere(module: Cryptoki, session: Buffer, handle: Buffer): boolean {
  try {
    module.C_GetAttributeValue(session, handle, [{ type: cka.id }]);
    return true;
  } catch {
    return false;
  }
}

function generate(
  module: Cryptoki,
  session: Buffer,
  algorithm: TokenAlgorithm,
  id: Uint8Array,
): Uint8Array {
  const named: readonly Attribute[] = [
    { type: cka.id, value: Buffer.from(id) },
    { type: cka.label, value: labelOfSigningKey },
  ];
  const edwards = algorithm === "ed25519";
  const { publicKey } = module.C_GenerateKeyPair(
    session,
    { mechanism: edwards ? ckm.edKeyPair : ckm.ecKeyPair },
    [
      ...named,
      { type: cka.token, value: true },
      { type: cka.keyType, value: edwards ? ckk.edwards : ckk.ec },
      { type: cka.verify, value: true },
      { type: cka.ecParams, value: curves[algorithm] },
    ],
    [...named, ...kept, { type: cka.sign, value: true }],
  );
  const [point] = module.C_GetAttributeValue(session, publicKey, [{ type: cka.ecPoint }]);
  const bytes = bytesOf(point?.value);
  // A DER OCTET STRING of less than 128 bytes; some tokens leave the point bare.
  return bytes[0] === 4 && bytes[1] === bytes.length - 2 ? bytes.slice(2) : bytes;
}

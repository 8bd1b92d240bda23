/**
 * Who calls. A device proves itself once by an assertion (`private_key_jwt`, RFC 7523) signed with the key that
 * signs its log, and gets an access token: a JWT of the server, for this server, for ten minutes.
 *
 * The algorithm is that of the key on file, never what a header claims; headers that bring or name keys (`jku`,
 * `jwk`, `x5u`, `x5c`, `kid`) and `crit` are refused. An assertion is taken once. Whether the device may still do
 * what it asks is the engine's to say at every request.
 */
import { createPublicKey, type KeyObject } from "node:crypto";
import {
  base64url,
  type Clock,
  fromBase64url,
  HoldfastError,
  isHoldfastError,
  type JsonValue,
  limits,
  parseDeviceLogOrigin,
  parseJson,
  type Random,
  type SignatureAlgorithm,
  type TokenAnswer,
} from "@holdfast/core";
import { jwtVerify, SignJWT } from "jose";
import { createRates } from "./rates.ts";
import type { ReplayMemory } from "../engine/replay-memory.ts";
import type { AssertionKey, Caller, SyncServer } from "../engine/sync-server.ts";

/** The server's key for access tokens: Ed25519. */
export interface TokenKey {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

/** Ports of {@link createTokens}. */
export interface TokenDeps {
  readonly server: Pick<SyncServer, "assertionKey">;
  readonly clock: Clock;
  readonly random: Random;
  readonly key: TokenKey;
  readonly replay: ReplayMemory;
  /** Audience of assertions and of tokens. */
  readonly host: string;
}

/** Who calls, and until when the token says so. */
export interface Admitted extends Caller {
  /** UTC milliseconds. */
  readonly expires: number;
}

/** Issues and verifies. */
export interface Tokens {
  /** Throws `assertion_refused`, `requests_too_many`; `server_busy` while too many assertions are remembered. */
  exchange(assertion: string): Promise<TokenAnswer>;
  /** Throws `token_refused`. */
  admit(authorization: readonly string[]): Promise<Admitted>;
}

const algorithms: Readonly<Record<SignatureAlgorithm, string>> = {
  ed25519: "EdDSA",
  "ecdsa-p256": "ES256",
};
/** Clocks of devices follow `hello`; the rest is travel time. */
const leewayMs = 30_000;
/** A device needs a token in ten minutes: more would only fill what is remembered for everybody. */
const deviceTokens = { perSecond: 1, burst: 100 };
const cachedMax = 10_000;
const tokenType = "at+jwt";
const jwtForm = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/;

/** Tokens of one server. */
export function createTokens(deps: TokenDeps): Tokens {
  const cached = new Map<string, Admitted>();
  const share = createRates(deps.clock, deviceTokens);
  return {
    exchange: (assertion) => exchange(deps, share, assertion),
    admit: (authorization) => admit(deps, cached, authorization),
  };
}

function refused(part: string): HoldfastError {
  return new HoldfastError("assertion_refused", { part });
}

async function exchange(
  deps: TokenDeps,
  share: (name: string) => void,
  assertion: string,
): Promise<TokenAnswer> {
  const { caller, jti, expires } = readAssertion(deps, assertion);
  const key = await deps.server.assertionKey(caller);
  await checkSignature(deps, key, assertion);
  // Only what its key has signed is remembered, so that nobody else fills the memory.
  const now = deps.clock.now();
  const { tenant, device, incarnation } = caller;
  const used = {
    tenant,
    name: `${device}/${incarnation}/${jti}`,
    until: expires + leewayMs,
    now,
  };
  // Whoever sends a stolen one again takes nothing from the share of its device.
  const fresh = await deps.replay.use(used, () => {
    share(`${tenant}/${device}`);
  });
  if (!fresh) throw refused("jti");
  return issue(deps, caller, now);
}

interface Assertion {
  readonly caller: Caller;
  readonly jti: string;
  /** UTC milliseconds. */
  readonly expires: number;
}

/** The claims, before the signature is known to be right. */
function readAssertion({ clock, host }: TokenDeps, assertion: string): Assertion {
  const [header, claims] = partsOf(assertion) ?? [];
  if (header === undefined || claims === undefined) throw refused("form");
  const { alg, typ = "JWT", ...rest } = header;
  if (Object.keys(rest).length > 0 || typ !== "JWT") throw refused("header");
  if (alg !== "EdDSA" && alg !== "ES256") throw refused("alg");
  const { iss, sub, aud, jti, iat, exp } = claims;
  const caller = typeof iss === "string" ? parseDeviceLogOrigin(iss) : undefined;
  if (caller === undefined || iss !== sub) throw refused("iss");
  if (aud !== host) throw refused("aud");
  if (typeof jti !== "string" || jti.length < 8 || jti.length > 128) throw refused("jti");
  const now = clock.now();
  if (!isTime(iat) || iat * 1_000 > now + leewayMs) throw refused("iat");
  if (!isTime(exp) || exp * 1_000 <= now - leewayMs) throw refused("exp");
  if (exp - iat > limits.assertionLifeMs / 1_000) throw refused("exp");
  if (exp * 1_000 > now + limits.assertionLifeMs + leewayMs) throw refused("exp");
  return { caller, jti, expires: exp * 1_000 };
}

function isTime(value: JsonValue | undefined): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

type Members = Readonly<Record<string, JsonValue>>;

/** Header and claims, read strictly: two members of one name are refused, as everywhere. */
function partsOf(jwt: string): readonly [Members, Members] | undefined {
  if (jwt.length > limits.tokenBytesMax || !jwtForm.test(jwt)) return undefined;
  const [header, claims] = jwt.split(".", 2).map(membersOf);
  return header === undefined || claims === undefined ? undefined : [header, claims];
}

function membersOf(segment: string): Members | undefined {
  const bytes = fromBase64url(segment);
  if (bytes === undefined) return undefined;
  try {
    const value = parseJson(bytes);
    const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
    return isObject ? (value as Members) : undefined;
  } catch (error) {
    if (isHoldfastError(error)) return undefined;
    throw error;
  }
}

async function checkSignature(
  deps: TokenDeps,
  key: AssertionKey | undefined,
  assertion: string,
): Promise<void> {
  // An unknown device takes as long as a wrong signature: who is enrolled is not for strangers to find out.
  const algorithm = key === undefined ? "EdDSA" : algorithms[key.algorithm];
  const publicKey =
    key === undefined
      ? deps.key.publicKey
      : createPublicKey({ key: Buffer.from(key.spki), format: "der", type: "spki" });
  try {
    await jwtVerify(assertion, publicKey, {
      algorithms: [algorithm],
      audience: deps.host,
      clockTolerance: leewayMs / 1_000,
      currentDate: new Date(deps.clock.now()),
      requiredClaims: ["iss", "sub", "aud", "jti", "iat", "exp"],
    });
  } catch {
    throw refused("signature");
  }
  if (key === undefined) throw refused("signature");
}

async function issue(deps: TokenDeps, caller: Caller, now: number): Promise<TokenAnswer> {
  const { tenant, device, incarnation } = caller;
  const issuedAt = Math.floor(now / 1_000);
  const accessToken = await new SignJWT()
    .setProtectedHeader({ alg: "EdDSA", typ: tokenType })
    .setIssuer(deps.host)
    .setAudience(deps.host)
    .setSubject(`${tenant}/d/${device}/${incarnation}`)
    .setJti(base64url(deps.random.bytes(16)))
    .setIssuedAt(issuedAt)
    .setExpirationTime(issuedAt + limits.tokenLifeMs / 1_000)
    .sign(deps.key.privateKey);
  return { accessToken, expiresInMs: limits.tokenLifeMs };
}

async function admit(
  deps: TokenDeps,
  cached: Map<string, Admitted>,
  authorization: readonly string[],
): Promise<Admitted> {
  const [only, ...more] = authorization;
  const token = /^Bearer (\S+)$/i.exec(only ?? "")?.[1];
  if (token === undefined || more.length > 0) throw unknownToken();
  const now = deps.clock.now();
  const known = cached.get(token);
  if (known !== undefined) {
    if (known.expires > now) return known;
    cached.delete(token);
    throw unknownToken();
  }
  const admitted = await verified(deps, token, now);
  if (cached.size >= cachedMax) cached.delete(cached.keys().next().value ?? "");
  cached.set(token, admitted);
  return admitted;
}

function unknownToken(): HoldfastError {
  return new HoldfastError("token_refused");
}

async function verified(deps: TokenDeps, token: string, now: number): Promise<Admitted> {
  const [header, claims] = partsOf(token) ?? [];
  if (header === undefined || claims === undefined) throw unknownToken();
  if (Object.keys(header).toSorted().join() !== "alg,typ") throw unknownToken();
  try {
    await jwtVerify(token, deps.key.publicKey, {
      algorithms: ["EdDSA"],
      typ: tokenType,
      issuer: deps.host,
      audience: deps.host,
      currentDate: new Date(now),
      requiredClaims: ["sub", "exp", "iat", "jti"],
    });
  } catch {
    throw unknownToken();
  }
  const { sub, exp } = claims;
  const caller = typeof sub === "string" ? parseDeviceLogOrigin(sub) : undefined;
  if (caller === undefined || !isTime(exp)) throw unknownToken();
  if (exp * 1_000 > now + limits.tokenLifeMs + leewayMs) throw unknownToken();
  return { ...caller, expires: exp * 1_000 };
}

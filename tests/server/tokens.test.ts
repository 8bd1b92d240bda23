/** Who may call: assertions, access tokens, and what revocation does. */
import { createHmac, createSign, generateKeyPairSync, sign as signWith } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { base64url, utf8 } from "@holdfast/core";
import type { PushingDevice } from "@holdfast/testkit";
import { type AssertionChanges, postToken, refusalOf, startTestApi, type TestApi } from "./lab.ts";

let lab: TestApi;
let device: PushingDevice;
beforeAll(async () => {
  lab = await startTestApi();
  device = lab.engine.founder;
});
afterAll(() => lab.close());

const now = (): number => Math.floor(lab.engine.clock.now() / 1_000);
const exchange = (changes: AssertionChanges = {}): Promise<Response> =>
  postToken(lab.url, lab.assertion(device, changes));

describe("assertions", () => {
  it("earn an access token as RFC 6749 says", async () => {
    const answer = await exchange();
    expect(answer.status).toBe(200);
    expect(answer.headers.get("cache-control")).toBe("no-store");
    const body = (await answer.json()) as Record<string, unknown>;
    expect(body).toMatchObject({ token_type: "Bearer", expires_in: 600 });
    expect((await lab.get("/v1/log/checkpoint", String(body["access_token"]))).status).toBe(200);
  });

  const other = generateKeyPairSync("ed25519").privateKey;
  const rsa = generateKeyPairSync("rsa", { modulusLength: 2_048 }).privateKey;
  const confused: readonly (readonly [string, AssertionChanges])[] = [
    ["alg none", { header: { alg: "none" }, sign: () => new Uint8Array() }],
    [
      "HS256 with the public key as secret",
      {
        header: { alg: "HS256" },
        sign: (text) => createHmac("sha256", lab.engine.spki).update(text).digest(),
      },
    ],
    [
      "RS256",
      { header: { alg: "RS256" }, sign: (text) => createSign("sha256").update(text).sign(rsa) },
    ],
    ["ES256 for an Ed25519 key", { header: { alg: "ES256" } }],
    ["alg missing", { header: { alg: undefined } }],
    ["alg in another case", { header: { alg: "EDDSA" } }],
    ["a key of its own", { sign: (text) => signWith(null, text, other) }],
    ["a jwk of its own", { header: { jwk: { kty: "OKP" } } }],
    ["jku", { header: { jku: "http://127.0.0.1/keys" } }],
    ["x5u", { header: { x5u: "http://127.0.0.1/keys" } }],
    ["x5c", { header: { x5c: [] } }],
    ["kid that points away", { header: { kid: "../../key" } }],
    ["crit", { header: { crit: ["exp"] } }],
    ["two algs", { segments: ['{"alg":"none","alg":"EdDSA"}', "{}"] }],
  ];
  it.each(confused)("row 26: %s is refused", async (_name, changes) => {
    expect(await refusalOf(await exchange(changes))).toMatchObject({
      status: 401,
      code: "assertion_refused",
    });
  });

  const wrong: readonly (readonly [string, () => Record<string, unknown>])[] = [
    ["expired", () => ({ iat: now() - 120, exp: now() - 61 })],
    ["of the future", () => ({ iat: now() + 61, exp: now() + 120 })],
    ["for another audience", () => ({ aud: "other.test" })],
    ["for two audiences", () => ({ aud: ["server.test:8443", "other.test"] })],
    [
      "of another issuer",
      () => ({ iss: `${lab.engine.tenant}/d/${"A".repeat(22)}/${"0".repeat(16)}` }),
    ],
    ["whose subject is another", () => ({ sub: "x" })],
    ["without exp", () => ({ exp: undefined })],
    ["without iat", () => ({ iat: undefined })],
    ["without jti", () => ({ jti: undefined })],
    ["that lasts too long", () => ({ exp: now() + 61 })],
    ["that lasts to the year 9999", () => ({ exp: 253_402_300_799 })],
    ["whose exp is no integer", () => ({ exp: "soon" })],
  ];
  it.each(wrong)("row 27: one %s is refused", async (_name, claims) => {
    expect(await refusalOf(await exchange({ claims: claims() }))).toMatchObject({
      status: 401,
      code: "assertion_refused",
    });
  });

  it("row 27: a clock that is off by less than the leeway is forgiven", async () => {
    const claims = { iat: now() + 20, exp: now() + 80 };
    expect((await exchange({ claims })).status).toBe(200);
  });

  it("row 19: is taken once", async () => {
    const assertion = lab.assertion(device);
    expect((await postToken(lab.url, assertion)).status).toBe(200);
    expect(await refusalOf(await postToken(lab.url, assertion))).toMatchObject({
      status: 401,
      details: { part: "jti" },
    });
  });

  it("row 43: an unknown device and a wrong signature are refused alike", async () => {
    const stranger = { ...device, device: "A".repeat(22) };
    const unknown = await refusalOf(await postToken(lab.url, lab.assertion(stranger)));
    const forged = await refusalOf(await exchange({ sign: (text) => signWith(null, text, other) }));
    expect(unknown).toEqual(forged);
  });

  it("row 27: a token of 1 MB is refused before it is looked at", async () => {
    const answer = await postToken(lab.url, `${"a".repeat(1_000_000)}.a.a`);
    expect(await refusalOf(answer)).toMatchObject({ status: 413, code: "message_too_large" });
  });

  it.each([
    ["another grant type", "grant_type=password&client_assertion_type=x&client_assertion=a.b.c"],
    ["a member twice", "grant_type=client_credentials&grant_type=client_credentials"],
    ["nothing", ""],
    ["half an escape", "grant_type=%zz"],
  ])("refuses a form with %s", async (_name, body) => {
    const answer = await fetch(`${lab.url}/v1/token`, {
      method: "POST",
      headers: { "content-type": "application/x-www-form-urlencoded" },
      body,
    });
    expect(await refusalOf(answer)).toMatchObject({ status: 400, code: "message_malformed" });
  });
});

/** A token with its claims changed and the signature left: what a thief without key can do. */
function altered(token: string, change: (claims: Record<string, unknown>) => object): string {
  const [header = "", claims = "", signature = ""] = token.split(".");
  const read = JSON.parse(Buffer.from(claims, "base64url").toString()) as Record<string, unknown>;
  return `${header}.${base64url(utf8(JSON.stringify(change(read))))}.${signature}`;
}

describe("access tokens", () => {
  const refusedWith = async (authorization: string | undefined): Promise<void> => {
    const headers: Record<string, string> = authorization === undefined ? {} : { authorization };
    const answer = await fetch(`${lab.url}/v1/devices`, { headers });
    expect(answer.headers.get("www-authenticate")).toBe("Bearer");
    expect(await refusalOf(answer)).toMatchObject({ status: 401, code: "token_refused" });
  };

  it("row 27: none, another scheme, nonsense, one of 1 MB", async () => {
    await refusedWith(undefined);
    await refusedWith("Basic dTpw");
    await refusedWith("Bearer");
    await refusedWith("Bearer x.y.z");
    await refusedWith(`Bearer ${"a".repeat(9_000)}.a.a`);
  });

  it("rows 26 and 27: altered claims, alg none, an assertion in place of a token", async () => {
    const token = await lab.token(device);
    await refusedWith(`Bearer ${altered(token, (claims) => ({ ...claims, exp: 9_999_999_999 }))}`);
    const [, claims = ""] = token.split(".");
    const none = base64url(utf8('{"alg":"none","typ":"at+jwt"}'));
    await refusedWith(`Bearer ${none}.${claims}.`);
    await refusedWith(`Bearer ${none}.${claims}.AA`);
    await refusedWith(`Bearer ${lab.assertion(device)}`);
    const hmac = base64url(utf8('{"alg":"HS256","typ":"at+jwt"}'));
    const mac = createHmac("sha256", lab.engine.spki).update(`${hmac}.${claims}`).digest();
    await refusedWith(`Bearer ${hmac}.${claims}.${base64url(mac)}`);
  });

  it("row 27: two Authorization headers", async () => {
    const token = await lab.token(device);
    await refusedWith(`Bearer ${token}, Bearer ${token}`);
  });

  it("ends with its time, also when it was known before", async () => {
    const token = await lab.token(device);
    expect((await lab.get("/v1/devices", token)).status).toBe(200);
    lab.engine.clock.setWall(lab.engine.clock.now() + 599_000);
    expect((await lab.get("/v1/devices", token)).status).toBe(200);
    lab.engine.clock.setWall(lab.engine.clock.now() + 1_001);
    await refusedWith(`Bearer ${token}`);
  });

  it("revocation takes effect at the next request; the device still hands over", async () => {
    const leaving = await lab.engine.join();
    const token = await lab.token(leaving);
    expect((await lab.get("/v1/devices", token)).status).toBe(200);
    const admin = await lab.token(device);
    const revoked = await lab.post(
      "/v1/devices/revoke",
      { device: leaving.device, why: "lost" },
      admin,
    );
    expect(revoked.status).toBe(204);
    for (const path of ["/v1/devices", "/v1/tail", "/v1/grants?after=0", "/v1/log/checkpoint"]) {
      expect(await refusalOf(await lab.get(path, token))).toMatchObject({
        status: 403,
        code: "device_revoked",
      });
    }
  });

  it("row 42: a device that is no admin administers nothing", async () => {
    const plain = await lab.engine.join();
    const token = await lab.token(plain);
    const code = { digest: "A".repeat(43), role: "admin", expires: "2026-01-01T01:00:00.000Z" };
    const asked = [
      await lab.post("/v1/codes", code, token),
      await lab.post("/v1/devices/revoke", { device: device.device, why: "lost" }, token),
    ];
    for (const answer of asked) {
      expect(await refusalOf(answer)).toMatchObject({ status: 403, code: "role_insufficient" });
    }
  });
});

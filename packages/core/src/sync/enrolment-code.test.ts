import { createNodeCrypto } from "@holdfast/node";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { base64, base64url, utf8 } from "../std/bytes.ts";
import { isHoldfastError } from "../std/errors.ts";
import { canonicalJson } from "../std/jcs.ts";
import {
  checkCodeAt,
  deviceBinding,
  type EnrolmentCode,
  enrolmentProof,
  formatEnrolmentCode,
  isBoundBy,
  keyFingerprint,
  parseEnrolmentCode,
  proofDigest,
} from "./enrolment-code.ts";

const crypto = createNodeCrypto();
const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((at) => Uint8Array.from(at));
const id = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((at) => base64url(at));
const codes: fc.Arbitrary<EnrolmentCode> = fc.record({
  url: fc.constantFrom("https://sync.example.org", "http://127.0.0.1:8080/holdfast"),
  key: bytes32.map((key) => base64url(key)),
  secret: bytes32,
  expires: fc.nat(),
  joins: fc.option(fc.record({ tenant: id, founder: id }), { nil: undefined }),
});

const fields = {
  v: 1,
  url: "https://sync.example.org",
  key: base64url(new Uint8Array(32).fill(1)),
  secret: base64url(new Uint8Array(32).fill(2)),
  expires: 1_000,
};
const joins = { tenant: "A".repeat(22), founder: "B".repeat(22) };
const textOf = (value: unknown): string => `hf1-${base64url(utf8(canonicalJson(value)))}`;

function refusalOf(run: () => unknown): string {
  try {
    run();
    return "nothing was thrown";
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
    return `${error.code} ${String(error.details["part"] ?? "")}`.trim();
  }
}

describe("enrolment codes", () => {
  it("say after reading what they said before", () => {
    fc.assert(
      fc.property(codes, (code) => {
        const text = formatEnrolmentCode(code);
        expect(parseEnrolmentCode(` ${text}\n`)).toEqual(code);
      }),
    );
  });

  it.each([
    ["", "prefix"],
    ["hf2-AAAA", "prefix"],
    [`hf1-${"A".repeat(5_000)}`, "size"],
    ["hf1-!", "base64url"],
    [`hf1-${base64url(utf8("{"))}`, "json"],
    [`hf1-${base64url(utf8("[]"))}`, "json"],
    [`hf1-${base64url(utf8('{"v": 1}'))}`, "canonical"],
    [textOf({ ...fields, more: 1 }), "fields"],
    [textOf({ ...fields, tenant: joins.tenant }), "fields"],
    [textOf({ ...fields, v: 2 }), "v"],
    [textOf({ ...fields, url: "https://me:secret@example.org" }), "url"],
    [textOf({ ...fields, url: "file:///etc/passwd" }), "url"],
    [textOf({ ...fields, key: "AAAA" }), "key"],
    [textOf({ ...fields, secret: "AAAA" }), "secret"],
    [textOf({ ...fields, expires: 1.5 }), "expires"],
    [textOf({ ...fields, ...joins, tenant: "ward" }), "tenant"],
    [textOf({ ...fields, ...joins, founder: "me" }), "founder"],
  ])("refuse %j", (text, part) => {
    expect(refusalOf(() => parseEnrolmentCode(text))).toBe(`enrol_code_malformed ${part}`);
  });

  it("are for one server, and end by its clock", () => {
    const code = parseEnrolmentCode(
      textOf({ ...fields, key: keyFingerprint(crypto, base64(utf8("the server's key"))) ?? "" }),
    );
    const key = base64(utf8("the server's key"));
    checkCodeAt(crypto, code, { key, time: 999 });
    expect(
      refusalOf(() => {
        checkCodeAt(crypto, code, { key, time: 1_000 });
      }),
    ).toBe("enrol_code_expired");
    const other = base64(utf8("another key"));
    expect(
      refusalOf(() => {
        checkCodeAt(crypto, code, { key: other, time: 0 });
      }),
    ).toBe("enrol_server_mismatch");
  });

  it("give a proof that the digest knows, and bind one opening", () => {
    const secret = Uint8Array.from({ length: 32 }, (_, at) => at);
    const proof = enrolmentProof(crypto, secret);
    // Computed apart: openssl dgst -sha256 -mac HMAC -macopt hexkey:000102…1f; the digest over the bytes.
    expect(proof).toBe("GqNXAxa6-Pnt8mSp21ljNPPT5YnvLpyjzYkGqvlOOME");
    expect(proofDigest(crypto, proof)).toBe("JIf-UD6T4JK0vbXYCm1vF9rGPhNiZsNsvROn_O4jYVU");
    const binding = deviceBinding(crypto, secret, "opening");
    expect(binding).toBe("CKy3CbWJpuJoORk7gxuCRZamR3VV8IgV5p6wjVq6Ii8");
    expect(isBoundBy(crypto, secret, "opening", binding)).toBe(true);
    expect(isBoundBy(crypto, secret, "opening!", binding)).toBe(false);
    expect(isBoundBy(crypto, secret, "opening", proof)).toBe(false);
    expect(isBoundBy(crypto, secret, "opening", "AAAA")).toBe(false);
    expect(proofDigest(crypto, "AAAA")).toBeUndefined();
  });
});

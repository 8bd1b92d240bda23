/**
 * The token exchange is OAuth 2.0 (RFC 6749 §4.4, RFC 7523 §2.2), so that its form is the standard's: a form
 * body, and an answer in seconds.
 */
import { type Bytes, fromUtf8, utf8 } from "../../std/bytes.ts";
import { isHoldfastError } from "../../std/errors.ts";
import { limits } from "../../std/limits.ts";
import type { TokenAnswer, TokenRequest } from "../messages/token.ts";
import { malformed, record, type Shape, text, tooLarge, whole, word } from "./shape.ts";

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const jwtPattern = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*$/;

/** Members of the form, in the order in which they are written. */
const fixed: readonly (readonly [name: string, value: string])[] = [
  ["grant_type", "client_credentials"],
  ["client_assertion_type", assertionType],
];

/** The form body of `POST /v1/token`. */
export function encodeTokenRequest(request: TokenRequest): Bytes {
  const pairs = [...fixed, ["client_assertion", request.assertion] as const];
  return utf8(pairs.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&"));
}

/** The way back. Throws `message_malformed` and `message_too_large`, never anything else. */
export function decodeTokenRequest(input: Uint8Array): TokenRequest {
  if (input.length > limits.tokenFormBytesMax) throw tooLarge("", limits.tokenFormBytesMax);
  const members = formMembers(input);
  for (const [name, value] of fixed) if (members.get(name) !== value) throw malformed(`/${name}`);
  const assertion = members.get("client_assertion");
  if (assertion === undefined || !jwtPattern.test(assertion)) throw malformed("/client_assertion");
  if (assertion.length > limits.tokenBytesMax) {
    throw tooLarge("/client_assertion", limits.tokenBytesMax);
  }
  if (members.size !== fixed.length + 1) throw malformed("/");
  return { assertion };
}

function formMembers(input: Uint8Array): ReadonlyMap<string, string> {
  const members = new Map<string, string>();
  for (const member of textOf(input).split("&")) {
    const [name = "", value, ...more] = member.split("=");
    if (value === undefined || more.length > 0 || members.has(name)) throw malformed(`/`);
    members.set(name, percentDecoded(value));
  }
  return members;
}

function textOf(input: Uint8Array): string {
  try {
    return fromUtf8(input);
  } catch (error) {
    throw isHoldfastError(error) ? malformed("/") : error;
  }
}

function percentDecoded(value: string): string {
  try {
    return decodeURIComponent(value.replaceAll("+", " "));
  } catch {
    throw malformed("/");
  }
}

/** Answer as RFC 6749 §5.1 has it. */
interface TokenJson {
  readonly accessToken: string;
  readonly tokenType: "Bearer";
  /** Seconds. */
  readonly expiresIn: number;
}

const tokenJsonShape: Shape<TokenJson> = record<TokenJson>({
  accessToken: text(limits.tokenBytesMax, "^[A-Za-z0-9._~+/-]+=*$"),
  tokenType: word("Bearer"),
  expiresIn: whole(86_400),
});

/** Answer to `POST /v1/token`, in the words of the code. */
export const tokenAnswerShape: Shape<TokenAnswer> = {
  schema: tokenJsonShape.schema,
  write: ({ accessToken, expiresInMs }) =>
    tokenJsonShape.write({
      accessToken,
      tokenType: "Bearer",
      expiresIn: Math.floor(expiresInMs / 1_000),
    }),
  read(value, part) {
    const { accessToken, expiresIn } = tokenJsonShape.read(value, part);
    return { accessToken, expiresInMs: expiresIn * 1_000 };
  },
};

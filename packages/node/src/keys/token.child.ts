/**
 * The process that holds a PKCS#11 token: a module that hangs, hangs here, and is ended from outside. It takes
 * one request after the other, of several providers over one token, and ends when the process that started it does.
 */
import { TokenError } from "./token-codes.ts";
import { createLinks, openToken, type Token } from "./token.ts";
import type { TokenAnswer, TokenEnvelope, TokenRequest } from "./token-messages.ts";

const tokens: Token[] = [];
const openLink = createLinks();

function perform(of: number, request: TokenRequest): unknown {
  if (request.ask === "open") {
    const token = openToken(openLink, request);
    tokens.push(token);
    return { ...token.opened, of: tokens.length - 1 };
  }
  if (request.ask === "close") {
    for (const token of tokens) token.close();
    process.disconnect();
    return undefined;
  }
  const token = tokens[of];
  if (token === undefined) throw new TokenError("device", "closed");
  return token.answer(request);
}

process.on("message", ({ number, of, request }: TokenEnvelope) => {
  let answer: TokenAnswer;
  try {
    answer = { number, value: perform(of, request) };
  } catch (error) {
    const known = error instanceof TokenError ? error : undefined;
    answer = { number, fault: known?.fault ?? "device", name: known?.message ?? "unknown" };
  }
  if (process.connected) process.send?.(answer);
});
process.on("disconnect", () => {
  process.exit(0);
});

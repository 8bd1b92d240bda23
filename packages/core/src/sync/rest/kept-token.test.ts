import { createNodeCrypto, systemRandom } from "@holdfast/node";
import { createMemoryRecordFile } from "@holdfast/testkit";
import { describe, expect, it } from "vitest";
import { createSoftwareProvider } from "../../keys/software.ts";
import { fromUtf8, utf8 } from "../../std/bytes.ts";
import { HoldfastError } from "../../std/errors.ts";
import { createAbort } from "../abort.ts";
import { createKeptToken, createRenewedTokens } from "./kept-token.ts";

const crypto = createNodeCrypto();
const cost = { memoryKib: 8, passes: 1, lanes: 1 };
const { signal } = createAbort();

function made(passphrase = "for tests", file = createMemoryRecordFile()) {
  const provider = createSoftwareProvider({
    crypto,
    random: systemRandom,
    passphrase,
    parameters: undefined,
    cost,
  });
  return { file, kept: createKeptToken({ provider, crypto, random: systemRandom, file }) };
}

describe("a kept token", () => {
  it("comes back, and does not stand in its file", async () => {
    const { file, kept } = made();
    expect(await kept.read()).toBeUndefined();
    await kept.write("refresh-token-0123456789");
    await kept.write("refresh-token-9876543210");
    expect(await kept.read()).toBe("refresh-token-9876543210");
    expect(fromUtf8(file.read() as Uint8Array)).not.toContain("refresh");
  });

  it("of another provider, or damaged, is none", async () => {
    const { file, kept } = made();
    await kept.write("refresh-token-0123456789");
    const other = made("another", file);
    expect(await other.kept.read()).toBeUndefined();
    const text = fromUtf8(file.read() as Uint8Array);
    for (let at = 0; at < text.length; at += 7) {
      const byte = text[at] === "A" ? "B" : "A";
      file.replace(utf8(text.slice(0, at) + byte + text.slice(at + 1)));
      expect(await kept.read(), `byte ${at}`).toBeUndefined();
      file.replace(utf8(text.slice(0, at)));
      expect(await kept.read(), `cut at ${at}`).toBeUndefined();
    }
  });

  it("renews access tokens, and is replaced before a new one is used", async () => {
    const { kept } = made();
    const asked: string[] = [];
    const source = createRenewedTokens(kept, async (text) => {
      asked.push(text);
      return { access: { text: `access-for-${text}` }, keep: `${text}+` };
    });
    const options = { signal, refused: undefined };
    await expect(source.token(options)).rejects.toThrow("token_refused");
    await kept.write("first");
    expect(await source.token(options)).toEqual({ text: "access-for-first" });
    expect(await source.token(options)).toEqual({ text: "access-for-first+" });
    expect([asked, await kept.read()]).toEqual([["first", "first+"], "first++"]);
    const refusing = createRenewedTokens(kept, () =>
      Promise.reject(new HoldfastError("token_refused")),
    );
    await expect(refusing.token(options)).rejects.toThrow("token_refused");
    expect(await kept.read()).toBe("first++");
  });
});

import { describe, expect, it } from "vitest";
import { parseServerUrl } from "./server-url.ts";

describe("server addresses", () => {
  it.each([
    ["https://sync.example.org", "https://sync.example.org", "https://sync.example.org"],
    ["https://Sync.example.org:443/", "https://sync.example.org", "https://sync.example.org"],
    ["https://example.org:8443/a/b/", "https://example.org:8443", "https://example.org:8443/a/b"],
    ["http://127.0.0.1:80", "http://127.0.0.1", "http://127.0.0.1"],
    ["http://localhost:8080", "http://localhost:8080", "http://localhost:8080"],
    ["http://[::1]:8080", "http://[::1]:8080", "http://[::1]:8080"],
  ])("%s", (text, endpoint, root) => {
    expect(parseServerUrl(text)).toMatchObject({ endpoint, root });
  });

  it.each([
    "http://example.org",
    "http://localhost.",
    "http://127.0.0.1.nip.io",
    "http://2130706433",
    "http://0x7f.1",
    "http://127.1",
    "http://[::ffff:127.0.0.1]",
    "http://169.254.169.254",
  ])("row 36: %s is not this machine", (text) => {
    expect(() => parseServerUrl(text)).toThrow(
      expect.objectContaining({ code: "transport_insecure" }),
    );
  });

  it.each([
    "",
    "ftp://example.org",
    "https://",
    "https://user:pass@example.org",
    "https://example.org?x=1",
    "https://example.org#x",
    "https://example.org:99999",
    "http://\u2460\u2461\u2466.\u24EA.\u24EA.\u2460",
    "https://example.org/../x y",
  ])("%s is no address", (text) => {
    expect(() => parseServerUrl(text)).toThrow(
      expect.objectContaining({ code: "server_url_invalid" }),
    );
  });
});

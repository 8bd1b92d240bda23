/** TLS on both sides, with a certificate made for the test: trusted when named, refused otherwise. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:tls";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createHttpTransport, isHoldfastError } from "@holdfast/core";
import { createNodeHttp } from "@holdfast/node";
import { loadConfig, type RunningServer, startServer } from "@holdfast/server/serve";

let folder: string;
let server: RunningServer | undefined;
let made = false;

function certificate(): boolean {
  const words =
    "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost";
  const names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
  const files = ["-keyout", join(folder, "key.pem"), "-out", join(folder, "cert.pem")];
  return spawnSync("openssl", [...words.split(" "), ...names, ...files]).status === 0;
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-tls-"));
  made = certificate();
  if (!made) return;
  const flags = {
    data: join(folder, "data"),
    port: 0,
    tls_certificate: join(folder, "cert.pem"),
    tls_key: join(folder, "key.pem"),
  };
  server = await startServer(loadConfig({ flags }));
});
afterAll(async () => {
  await server?.close();
  rmSync(folder, { recursive: true });
});

async function helloWith(trusted: boolean): Promise<string> {
  const certificates = readFileSync(join(folder, "cert.pem"), "utf8");
  const http = createNodeHttp(trusted ? { certificates } : {});
  try {
    await createHttpTransport({ http }, server?.url ?? "").hello({});
    return "answered";
  } catch (error) {
    return isHoldfastError(error) ? `${error.code} ${String(error.details["reason"])}` : "other";
  } finally {
    http.close();
  }
}

describe("row 52: TLS", () => {
  it("is used, and a server that nobody vouches for is refused", async (context) => {
    if (!made) context.skip("no openssl to make a certificate with");
    expect(server?.url).toMatch(/^https:/);
    expect(await helloWith(true)).toBe("answered");
    expect(await helloWith(false)).toBe("network_unreachable DEPTH_ZERO_SELF_SIGNED_CERT");
  });

  it("is not taken below version 1.2", async (context) => {
    if (!made) context.skip("no openssl to make a certificate with");
    const { port } = new URL(server?.url ?? "");
    const socket = connect({
      host: "127.0.0.1",
      port: Number(port),
      // Else the test's own side would refuse first.
      ciphers: "DEFAULT:@SECLEVEL=0",
      maxVersion: "TLSv1.1",
      minVersion: "TLSv1",
      rejectUnauthorized: false,
    });
    const outcome = await new Promise((resolve) => {
      socket.on("secureConnect", () => {
        resolve("connected");
      });
      socket.on("error", () => {
        resolve("refused");
      });
    });
    socket.destroy();
    expect(outcome).toBe("refused");
  });

  it("needs both files", async () => {
    const flags = { data: join(folder, "other"), port: 0, tls_key: "key.pem" };
    await expect(startServer(loadConfig({ flags }))).rejects.toMatchObject({
      code: "config_invalid",
      details: { setting: "tls_certificate" },
    });
  });
});

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadConfig, openShards, startServer } from "@holdfast/server/serve";
import { afterAll, expect, it } from "vitest";

const folder = mkdtempSync(join(tmpdir(), "holdfast-shards-"));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

it("an act on shards tells of keys that do not open, and one that never needs them leaves nothing to nobody", async () => {
  const left: unknown[] = [];
  const leave = (reason: unknown): void => void left.push(reason);
  process.on("unhandledRejection", leave);
  const data = join(folder, "data");
  const server = await startServer(loadConfig({ flags: { data, port: 0, drain_seconds: 0 } }));
  try {
    // Settings of key providers, where the keys are in a file.
    const settings = join(folder, "keys.json");
    writeFileSync(settings, "{}");
    const shards = openShards(loadConfig({ flags: { data, key_settings: settings } }));
    await expect(shards.split({ tenant: "A".repeat(22) })).rejects.toThrow("server_running");
    await new Promise((resolve) => setTimeout(resolve));
    expect(left).toEqual([]);
    await expect(shards.list()).rejects.toThrow("config_invalid");
  } finally {
    process.off("unhandledRejection", leave);
    await server.close();
  }
});

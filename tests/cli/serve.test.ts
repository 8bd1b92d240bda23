/** `holdfast serve` as a process: prints where it listens and the code, serves, ends on a signal. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parseEnrolmentCode } from "@holdfast/core";

const main = join(import.meta.dirname, "../../packages/cli/src/main.ts");

let folder: string;
const children: ChildProcess[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-cli-serve-"));
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  rmSync(folder, { recursive: true });
});

function serve(args: readonly string[], environment: Readonly<Record<string, string>>) {
  const child = spawn(
    process.execPath,
    ["--conditions=@holdfast/source", main, "serve", "--json", ...args],
    { env: { ...process.env, ...environment }, stdio: ["ignore", "pipe", "pipe"] },
  );
  children.push(child);
  return child;
}

async function firstLine(child: ReturnType<typeof serve>): Promise<Record<string, string>> {
  const lines = createInterface({ input: child.stdout });
  const [line] = (await once(lines, "line")) as unknown as readonly [string];
  return JSON.parse(line) as Record<string, string>;
}

async function exitOf(child: ReturnType<typeof serve>): Promise<number | null> {
  const [code] = (await once(child, "exit")) as unknown as readonly [number | null];
  return code;
}

describe("holdfast serve", () => {
  it("takes port and folder from the environment, prints its code once, ends on a signal", async () => {
    const environment = { HOLDFAST_PORT: "0", HOLDFAST_DATA: join(folder, "data") };
    const first = serve([], environment);
    const said = await firstLine(first);
    expect(parseEnrolmentCode(said["code"] ?? "").url).toBe(said["url"]);
    expect((await fetch(`${said["url"]}/readyz`)).status).toBe(200);
    const ended = exitOf(first);
    first.kill("SIGTERM");
    expect(await ended).toBe(0);

    const second = serve(["--new-code"], environment);
    const again = await firstLine(second);
    expect(again["code"]).not.toBe(said["code"]);
    // A server that was killed leaves a folder that the next one takes.
    const killed = exitOf(second);
    second.kill("SIGKILL");
    await killed;
    const third = serve([], environment);
    expect(Object.keys(await firstLine(third))).toEqual(["url"]);
  });

  it("refuses with a code what it cannot do", async () => {
    const child = serve(["--host", "0.0.0.0", "--data", join(folder, "data")], {});
    const chunks: Buffer[] = [];
    child.stderr.on("data", (chunk: Buffer) => chunks.push(chunk));
    expect(await exitOf(child)).toBe(3);
    const said = JSON.parse(Buffer.concat(chunks).toString()) as { error: { code: string } };
    expect(said.error.code).toBe("listener_insecure");
  });
});

/** `npm start`, as a newcomer runs it. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { childEnv, nodeCommand, runChild } from "../faults/child.ts";

const main = fileURLToPath(new URL("../../packages/cli/src/main.ts", import.meta.url));

test("the tour converges, shows the conflict, verifies, and ends with 0", async () => {
  const { code, stdout, stderr } = await runChild({
    argv: [main, "start", "--once", "--json"],
    env: { HOLDFAST_PORT: "0" },
  });
  expect(stderr).toBe("");
  expect(JSON.parse(stdout)).toMatchObject({
    ok: true,
    sameEvents: true,
    sameRows: true,
    conflicts: 1,
    sides: 2,
    verified: true,
  });
  expect(code).toBe(0);
});

test("it goes on serving, the lines that it prints work, and Ctrl-C ends it", async () => {
  const [command, ...argv] = nodeCommand([main, "start"]);
  const child = spawn(command as string, argv, {
    env: childEnv({ HOLDFAST_PORT: "0" }),
    stdio: ["ignore", "pipe", "inherit"],
  });
  const closed = once(child, "close");
  let text = "";
  try {
    for await (const part of child.stdout.setEncoding("utf8")) {
      text += String(part);
      if (text.includes("npx holdfast sync")) break;
    }
    const lines = text.split("\n").map((line) => line.trim());
    const addresses = lines.flatMap((line) => /^curl (\S+)$/.exec(line)?.[1] ?? []);
    expect(addresses).toHaveLength(3);
    for (const address of addresses) expect((await fetch(address)).status).toBe(200);
    const exported = lines.find((line) => line.startsWith("export ")) ?? "";
    const env = Object.fromEntries(
      [...exported.matchAll(/(HOLDFAST_[A-Z]+)=(\S+)/g)].map(([, name, value]) => [name, value]),
    ) as Record<string, string>;
    const commands = lines.filter((line) => line.startsWith("npx holdfast "));
    expect(commands).toHaveLength(3);
    for (const line of commands) {
      const words = line.split(" ").slice(2);
      const ran = await runChild({ argv: [main, ...words], env });
      expect({ line, code: ran.code, stderr: ran.stderr }).toEqual({ line, code: 0, stderr: "" });
    }
  } finally {
    child.kill("SIGINT");
  }
  const [code] = (await closed) as [number | null];
  expect(code).toBe(0);
});

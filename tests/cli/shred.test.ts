/** Holds and shreds on the command line, over one store. */
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { draftOf, makeStore, open, passphrase } from "../store/lab.ts";

const launcher = fileURLToPath(new URL("../../packages/cli/bin/holdfast.mjs", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "holdfast-shred-cli-"));

beforeAll(async () => {
  await makeStore(folder);
  const store = await open(folder);
  await store.append([draftOf(0), draftOf(1), draftOf(25)]);
  await store.close();
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** Runs the command with `--json`: its exit code and its rows, or the code of its refusal. */
function run(...args: readonly string[]) {
  const env = {
    ...process.env,
    HOLDFAST_STORE: join(folder, "store"),
    HOLDFAST_STATE: join(folder, "state"),
    HOLDFAST_PASSPHRASE: passphrase,
  };
  return new Promise<{ code: number; rows: readonly Record<string, unknown>[] }>((resolve) => {
    execFile(process.execPath, [launcher, ...args, "--json"], { env }, (error, out, err) => {
      const lines = `${out}${err}`.split("\n").filter((line) => line.startsWith("{"));
      const rows = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
      resolve({ code: error === null ? 0 : Number(error.code), rows });
    });
  });
}

const act = (actor: string) => ["--actor", actor, "--why", "erasure-asked"];

it("holds, asks, approves twice, says how far it is, certifies", { timeout: 240_000 }, async () => {
  const subject = ["--subject", "subject/0"];
  const placed = await run("hold", "place", ...subject, ...act("court"));
  const hold = String(placed.rows[0]?.["hold"]);
  expect((await run("hold", "ls")).rows).toMatchObject([{ hold, why: "erasure-asked" }]);
  expect(await run("shred", "request", ...subject, ...act("officer"))).toMatchObject({
    code: 3,
    rows: [{ error: { code: "shred_held" } }],
  });
  expect(await run("hold", "lift", hold, "--yes", ...act("court"))).toMatchObject({ code: 0 });
  expect(
    await run("shred", "request", ...subject, ...act("officer"), "--min-age", "1d"),
  ).toMatchObject({ code: 3, rows: [{ error: { code: "shred_retained" } }] });
  const asked = await run("shred", "request", ...subject, ...act("officer"));
  const shred = String(asked.rows[0]?.["shred"]);
  expect(await run("shred", "approve", shred, ...act("officer"))).toMatchObject({ code: 2 });
  const first = await run("shred", "approve", shred, ...act("officer"), "--yes");
  expect(first.rows).toMatchObject([{ shred, in_force: false }]);
  expect(await run("shred", "certify", shred, ...act("officer"))).toMatchObject({
    code: 3,
    rows: [{ error: { code: "shred_open" } }],
  });
  const copy = join(folder, "keyring.copy");
  await run("backup", "--keyring", copy);
  const second = await run("shred", "approve", shred, ...act("director"), "--yes");
  expect(second).toMatchObject({
    code: 0,
    rows: [{ in_force: true, unconfirmed: [], keyring_copies: [copy], stale_copies: [] }],
  });
  const [status] = (await run("shred", "status")).rows;
  expect(Object.values(status?.["here"] as object)).toEqual(["acknowledged"]);
  rmSync(copy);
  expect((await run("shred", "certify", shred, ...act("officer"))).rows).toMatchObject([
    { shred, unconfirmed: [], stale_copies: [copy] },
  ]);
  const trail = await run("audit", "tail", "--limit", "100", "--kind", "ShredApproved");
  expect(trail.rows).toHaveLength(2);
  expect(await run("verify")).toMatchObject({ code: 0 });
  const due = await run("shred", "due", "--max-age", "0s");
  // The other subject's scope; neither the shredded one nor those of tenant and device.
  expect(due).toMatchObject({ code: 0, rows: [{ newest: expect.any(String) as string }] });
  const store = await open(folder);
  expect(store.read({ type: "NoteRecorded" }).map(({ content }) => content)).toEqual([
    "shredded",
    "shredded",
    "opened",
  ]);
  await store.close();
});

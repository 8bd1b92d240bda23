import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { createRegistry } from "@holdfast/core";
import { packEvents } from "@holdfast/packs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));
const launcher = join(root, "packages/cli/bin/holdfast.mjs");
const bundle = join(root, "examples/bundles/nosebleed-clinic.json");
const shared = join(process.env["HOLDFAST_SHARED"] ?? join(root, "../shared"), "data/fhir");

interface Result {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

function run(
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  input = "",
): Promise<Result> {
  const child = spawn(process.execPath, [launcher, ...args], { env: { ...process.env, ...env } });
  let [out, err] = ["", ""];
  child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (err += chunk.toString()));
  child.stdin.on("error", () => undefined);
  child.stdin.end(input);
  return new Promise((resolve) => child.on("close", (code) => resolve({ code, out, err })));
}

const rows = (text: string): readonly Record<string, unknown>[] =>
  text
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Record<string, unknown>);

test("a wrong command line is exit 2, told as JSON when asked", async () => {
  const wrong = await run(["nothing", "--json"], {});
  expect(wrong).toMatchObject({ code: 2, out: "" });
  expect(JSON.parse(wrong.err)).toMatchObject({ error: { code: "usage" } });
  expect(await run(["log", "--passphrase", "x"], {})).toMatchObject({ code: 2, out: "" });
});

test("a missing passphrase is refused with its code", async () => {
  const refused = await run(["log", "--json", "--store", "x"], { HOLDFAST_PASSPHRASE: undefined });
  expect(refused).toMatchObject({ code: 3, out: "" });
  expect(JSON.parse(refused.err)).toMatchObject({ error: { code: "passphrase_missing" } });
});

test("types lists what can be appended, each diary and home type with an example that it accepts", async () => {
  const listed = await run(["types", "--json"], {});
  expect(listed).toMatchObject({ code: 0, err: "" });
  const types = rows(listed.out);
  expect(types.map(({ type }) => type)).toEqual(packEvents.map(({ type }) => type));
  const registry = createRegistry(packEvents);
  for (const { type, example } of types) {
    const name = type as string;
    if (name.startsWith("fhir.")) expect(example).toBeNull();
    else expect(registry.validate(name, example)).toEqual(example);
  }
  const shown = await run(["types", "BloodPressureMeasured"], {});
  expect(shown.out).toMatch(/^systolic_mmhg +number +≥ 0, ≤ 400 +required$/m);
  expect(shown.out).toContain("holdfast append --type BloodPressureMeasured");
  const unknown = await run(["types", "Nothing", "--json"], {});
  expect(unknown).toMatchObject({ code: 3, out: "" });
  expect(unknown.err).toMatch(/event_type_unknown.*holdfast types lists/);
});

describe("a store on the command line", () => {
  let folder = "";
  let env: Record<string, string> = {};
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "holdfast-cli-"));
    env = {
      HOLDFAST_STORE: join(folder, "store"),
      HOLDFAST_STATE: join(folder, "state"),
      HOLDFAST_PASSPHRASE: "correct horse battery staple",
    };
    const made = await run(["init", "--tenant", "test", "--json"], env);
    expect(made).toMatchObject({ code: 0, err: "" });
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  test("init refuses a folder that holds a store", async () => {
    const again = await run(["init", "--tenant", "test", "--json"], env);
    expect(again.code).toBe(3);
    expect(JSON.parse(again.err)).toMatchObject({ error: { code: "store_exists" } });
  });

  test("drafts are appended in order, a bad line names itself", async () => {
    const draft = (text: unknown): string =>
      JSON.stringify({
        type: "DiaryNoteWritten",
        stream: "n/1",
        scope: "p",
        actor: "a",
        data: { text },
      });
    const good = await run(
      ["append", "--ndjson", "-", "--json"],
      env,
      `${draft("a")}\n${draft("b")}\n`,
    );
    expect(good).toMatchObject({ code: 0, err: "" });
    const acknowledged = rows(good.out);
    expect(acknowledged.map((row) => Object.keys(row))).toEqual([
      ["id", "seq", "leaf"],
      ["id", "seq", "leaf"],
    ]);
    expect(acknowledged[1]?.["seq"]).toBe((acknowledged[0]?.["seq"] as number) + 1);
    const bad = await run(
      ["append", "--ndjson", "-", "--json"],
      env,
      `${draft("c")}\n${draft(5)}\n${draft("d")}\n`,
    );
    expect(bad.code).toBe(3);
    expect(rows(bad.out).length).toBe(1);
    expect(JSON.parse(bad.err)).toMatchObject({
      error: { code: "payload_invalid", details: { line: 2 } },
    });
    expect(bad.err).toContain("holdfast types TYPE");
    const file = join(folder, "drafts.ndjson");
    await writeFile(file, `${draft("e")}\n`);
    const fromFile = await run(["append", "--ndjson", file, "--json"], env);
    expect(fromFile).toMatchObject({ code: 0, err: "" });
    expect(rows(fromFile.out)).toHaveLength(1);
    const nowhere = await run(["append", "--ndjson", folder, "--json"], env);
    expect(nowhere).toMatchObject({ code: 3, out: "" });
    expect(nowhere.err).toContain('"input_unreadable"');
    const shown = await run(["show", String(acknowledged[0]?.["id"]), "--json"], env);
    expect(JSON.parse(shown.out)).toMatchObject({
      data: { text: "a" },
      signature: { leaf: acknowledged[0]?.["leaf"] },
    });
  });

  test("a bundle is imported once, queried, exported without payload, verified", async () => {
    const first = JSON.parse((await run(["import", "fhir", bundle, "--json"], env)).out) as object;
    expect(first).toMatchObject({
      appended: 55,
      duplicates: 0,
      amended: 0,
      resources: { Observation: 30 },
    });
    const again = JSON.parse((await run(["import", "fhir", bundle, "--json"], env)).out) as object;
    expect(again).toMatchObject({ appended: 0, duplicates: 55, amended: 0 });
    const count = await run(
      ["query", "fhir", "--where", "resource_type=Observation", "--count", "--json"],
      env,
    );
    expect(JSON.parse(count.out)).toEqual({ count: 30 });
    const found = await run(["query", "fhir", "--where", "resource_type=Patient", "--json"], env);
    expect(rows(found.out)).toMatchObject([
      { resource: { gender: "female" }, effective: "1971-04-23" },
    ]);
    const csv = await run(["export", "--format", "csv"], env);
    expect(csv.out).not.toContain("Beispiel");
    expect((await run(["export", "--include-payload"], env)).out).toContain("Beispiel");
    const verified = await run(["verify", "--json"], env);
    expect(verified.code).toBe(0);
    expect(JSON.parse(verified.out)).toMatchObject({ ok: true, problems: [] });
  });

  test.skipIf(!existsSync(shared))(
    "seven synthetic patients match their bundles (skipped without ../shared)",
    async () => {
      const files = readdirSync(shared)
        .filter((name) => name.endsWith(".json"))
        .map((name) => join(shared, name));
      const first = JSON.parse((await run(["import", "fhir", ...files, "--json"], env)).out) as {
        readonly appended: number;
        readonly resources: Readonly<Record<string, number>>;
      };
      const seen = Object.values(first.resources).reduce((a, b) => a + b, 0);
      expect(first.appended).toBe(seen);
      expect(first.resources["Patient"]).toBe(7);
      const again = JSON.parse(
        (await run(["import", "fhir", ...files, "--json"], env)).out,
      ) as object;
      expect(again).toMatchObject({ appended: 0, duplicates: seen, amended: 0 });
    },
  );

  test("a read model is paged, grouped and searched", async () => {
    const asked = ["query", "fhir", "--order", "resource_type", "--json"];
    const whole = rows((await run([...asked, "--limit", "100000"], env)).out);
    const first = rows((await run([...asked, "--limit", "7", "--page"], env)).out);
    const { next } = first.at(-1) as { readonly next: string };
    const second = rows((await run([...asked, "--limit", "7", "--after", next], env)).out);
    expect([...first.slice(0, -1), ...second.slice(0, -1)]).toEqual(whole.slice(0, 14));
    const grouped = await run(["query", "fhir", "--group-by", "resource_type", "--json"], env);
    const groups = rows(grouped.out) as readonly { readonly count: number }[];
    expect(groups).toContainEqual({
      resource_type: "Patient",
      count: whole.filter((row) => row["resource_type"] === "Patient").length,
    });
    expect(groups.reduce((sum, { count }) => sum + count, 0)).toBe(whole.length);
    const found = rows((await run(["search", "fhir", "Beispiel", "--json"], env)).out);
    expect(found.map((row) => row["resource_type"])).toContain("Patient");
    expect(rows((await run(["search", "fhir", "xyzzy", "--json"], env)).out)).toEqual([]);
  });

  test("a stream's past is shown step by step, and its row as it was", async () => {
    const said = async (text: string, ...more: readonly string[]) => {
      const words = ["--type", "DiaryNoteWritten", "--stream", "n/past", "--actor", "a"];
      const data = JSON.stringify({ text });
      const result = await run(
        ["append", ...words, "--scope", "p", "--data", data, ...more, "--json"],
        env,
      );
      expect(result).toMatchObject({ code: 0, err: "" });
      return JSON.parse(result.out) as { readonly leaf: string };
    };
    const { leaf } = await said("before");
    const amended = await said("after", "--op", "amend", "--ref", leaf, "--why", "typo");
    const history = rows((await run(["history", "n/past", "--json"], env)).out);
    expect(history).toMatchObject([
      { step: 1, op: "create", data: { text: "before" }, superseded_by: [amended.leaf] },
      { step: 2, op: "amend", ref: [leaf], why: "typo", superseded_by: [], conflict: null },
    ]);
    expect((await run(["history", "n/past"], env)).out).toContain(`superseded by ${amended.leaf}`);
    const asked = ["as-of", "diary", "--stream", "n/past", "--json"];
    const then = String(history[0]?.["position"]);
    const before = rows((await run([...asked, "--position", then], env)).out);
    expect(before).toMatchObject([{ state: { entry: { text: "before" } }, revisions: 1 }]);
    const now = rows((await run([...asked, "--at", "2100-01-01"], env)).out);
    expect(now).toMatchObject([{ state: { entry: { text: "after" } }, revisions: 2 }]);
    expect(rows((await run([...asked, "--occurred", "1999-01-01"], env)).out)).toEqual([]);
    expect((await run(asked, env)).code).toBe(2);
    expect((await run([...asked, "--position", "1", "--at", "2026-01-01"], env)).code).toBe(2);
    expect((await run(["history", "nothing", "--json"], env)).code).toBe(3);
  });

  test("read models are listed and built anew", async () => {
    const listed = rows((await run(["projections", "ls", "--json"], env)).out);
    const diary = listed.find(({ name }) => name === "diary");
    expect(diary).toMatchObject({ state: "current", stopped_at: null });
    const built = await run(["projections", "rebuild", "diary", "--json"], env);
    expect(built).toMatchObject({ code: 0, err: "" });
    expect(JSON.parse(built.out)).toEqual({
      name: "diary",
      state: "current",
      rows: diary?.["rows"],
    });
    expect((await run(["projections", "rebuild", "nothing", "--json"], env)).code).toBe(3);
  });

  test("a watch tells what another process appends", async () => {
    const child = spawn(
      process.execPath,
      [launcher, "watch", "diary", "--where", "kind=DiaryNoteWritten", "--json"],
      { env: { ...process.env, ...env } },
    );
    const told: Record<string, readonly Record<string, unknown>[]>[] = [];
    const lines = createInterface({ input: child.stdout });
    const next = async () => {
      const [line] = (await once(lines, "line")) as [string];
      told.push(JSON.parse(line) as (typeof told)[number]);
    };
    await next();
    const draft = { type: "DiaryNoteWritten", stream: "n/watched", scope: "p", actor: "a" };
    const later = next();
    const text = `${JSON.stringify({ ...draft, data: { text: "seen" } })}\n`;
    expect((await run(["append", "--ndjson", "-", "--json"], env, text)).code).toBe(0);
    await later;
    expect(told[0]).toMatchObject({ changed: [], removed: [] });
    expect(told[1]).toMatchObject({
      added: [{ state: { entry: { text: "seen" } } }],
      changed: [],
      removed: [],
    });
    child.kill("SIGTERM");
    expect(await once(child, "close")).toEqual([0, null]);
    const timed = await run(["watch", "diary", "--for", "1", "--json"], env);
    expect(timed).toMatchObject({ code: 0, err: "" });
    expect(rows(timed.out).length).toBe(1);
  });

  test("where nobody differs there is no conflict to settle", async () => {
    expect(await run(["conflicts", "ls", "--json"], env)).toMatchObject({ code: 0, out: "" });
    expect(await run(["conflicts", "show", "n/1", "--json"], env)).toMatchObject({
      code: 0,
      out: "",
    });
    const refused = await run(["conflicts", "resolve", "n/1", "--actor", "a", "--json"], env);
    expect(refused.code).toBe(3);
    expect(JSON.parse(refused.err)).toMatchObject({ error: { code: "conflict_not_open" } });
    expect((await run(["conflicts", "resolve", "n/1", "--json"], env)).code).toBe(2);
  });

  test("a refused bundle records nothing and says where it is wrong", async () => {
    const file = join(folder, "bad.json");
    await writeFile(
      file,
      '{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Basic","id":"1","n":-0}}]}',
    );
    const refused = await run(["import", "fhir", file, "--json"], env);
    expect(refused).toMatchObject({ code: 3, out: "" });
    expect(JSON.parse(refused.err)).toMatchObject({
      error: { code: "json_unsafe_number", details: { path: "/entry/0/resource/n" } },
    });
  });

  test("the demonstration keeps its promises", async () => {
    const shown = await run(["demo", "--json"], {});
    expect(shown).toMatchObject({ code: 0, err: "" });
    expect(JSON.parse(shown.out)).toMatchObject({ ok: true, missing: 0 });
  });
});

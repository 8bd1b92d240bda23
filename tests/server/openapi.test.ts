/** The published document against the routes, and every code of the engine against its status. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { errorCodes, messageSchemas } from "@holdfast/core";
import { engineStatus, openApiDocument, routes, statusByCode } from "@holdfast/server";
import { startTestApi, type TestApi } from "./lab.ts";

type Node = Readonly<Record<string, unknown>>;

let lab: TestApi;
beforeAll(async () => {
  lab = await startTestApi();
});
afterAll(() => lab.close());

function references(node: unknown): readonly string[] {
  if (typeof node !== "object" || node === null) return [];
  return Object.entries(node).flatMap(([key, value]) =>
    key === "$ref" ? [String(value)] : references(value),
  );
}

describe("/openapi.json", () => {
  it("names every route and no other", async () => {
    const document = (await (await lab.get("/openapi.json")).json()) as Node;
    const named = Object.entries(document["paths"] as Node).flatMap(([path, methods]) =>
      Object.keys(methods as Node).map((method) => `${method} ${path}`),
    );
    expect(named.toSorted()).toEqual(
      routes.map(({ method, path }) => `${method} ${path}`).toSorted(),
    );
  });

  it("resolves its references, and uses every schema", () => {
    const document = openApiDocument();
    const { schemas } = document["components"] as { schemas: Node };
    const used = new Set(references(document).map((name) => name.replace(/^.*\//, "")));
    for (const name of used) expect(schemas).toHaveProperty(name);
    const forQueries = new Set(["ConsistencyRequest", "EpochRequest", "InclusionRequest"]);
    const unused = Object.keys(messageSchemas).filter((name) => !used.has(name));
    expect(new Set(unused)).toEqual(forQueries);
  });

  it.each(routes.map((route) => [route.method, route.path, route.token] as const))(
    "%s %s answers in its own form: token %s",
    async (method, path, token) => {
      const answer = await (method === "get" ? lab.get(path) : lab.post(path, "{}"));
      if (token) expect(answer.status).toBe(401);
      else expect([200, 400, 415]).toContain(answer.status);
      await answer.arrayBuffer();
    },
  );
});

function sources(folder: string): readonly string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return sources(path);
    return /(?<!\.test)\.ts$/.test(entry.name) ? [readFileSync(path, "utf8")] : [];
  });
}

describe("status of codes", () => {
  /** Trouble of the server's own; leaves as `server_failed` or `server_busy`. */
  const internal =
    /^(store_|proof_|vkey_|(database_setting_refused|durability_unmet|server_keys_foreign|server_log_sealed)$)/;
  /** Refusals of the operator's acts, which no route offers. */
  const operators = new Set(["tenant_unknown", "shard_taken", "server_log_unproven"]);

  it("every code that the engine refuses with has one", () => {
    const engine = join(import.meta.dirname, "../../packages/server/src/engine");
    const thrown = sources(engine).flatMap((text) =>
      [...text.matchAll(/HoldfastError\("([a-z_]+)"/g)].map(([, code]) => String(code)),
    );
    expect(thrown.length).toBeGreaterThan(20);
    const known = { ...statusByCode, ...engineStatus };
    const without = thrown.filter(
      (code) => !internal.test(code) && !operators.has(code) && !Object.hasOwn(known, code),
    );
    expect([...new Set(without)]).toEqual([]);
  });

  it("names known codes, 4xx for the caller's, 5xx for three of its own", () => {
    for (const [code, status] of Object.entries({ ...statusByCode, ...engineStatus })) {
      expect(Object.hasOwn(errorCodes, code)).toBe(true);
      const own = ["server_failed", "server_busy", "server_put_back"].includes(code);
      expect(status >= 500).toBe(own);
    }
  });
});

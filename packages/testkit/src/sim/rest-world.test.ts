import { createNodeCrypto } from "@holdfast/node";
import { describe, expect, it } from "vitest";
import { createRestWorld, type PlantHttp } from "./rest-world.ts";
import { runSeed, runSeedTwice } from "./run-seed.ts";
import { loadSqlite } from "./sqlite-module.ts";

const sqlite = await loadSqlite();
const crypto = createNodeCrypto();
const seeds = process.env["HOLDFAST_FULL"] === "1" ? 200 : 4;

/** What a person needs to look at a seed again. */
function told({ seed, text, tail }: Awaited<ReturnType<typeof runSeed>>): string {
  return [`seed ${seed}: ${text}`, ...tail.slice(-30)].join("\n");
}

describe("the simulated world with a backend that is no Holdfast server", () => {
  it(
    "delivers everything, once and in order, whatever the seed does to it",
    async () => {
      for (let seed = 1; seed <= seeds; seed++) {
        const verdict = await runSeed({ seed, sqlite, crypto }, createRestWorld);
        expect(verdict.code, told(verdict)).toBe(0);
      }
    },
    60 * 60_000,
  );

  const answered = { status: 200, headers: {}, body: new Uint8Array(0) };
  const bugs: readonly (readonly [name: string, says: RegExp, plant: PlantHttp])[] = [
    [
      "an answer for what was never sent",
      /arrived|never reached/,
      (http, chance) => ({
        ...http,
        request: async (request) => (chance.oneIn(10) ? answered : http.request(request)),
      }),
    ],
    [
      "another key for every try",
      /two effects|arrived|nobody recorded/,
      (http, chance) => ({
        ...http,
        request: (request) => {
          const key = `${request.headers["idempotency-key"] ?? ""}${chance.integer(99)}`;
          return http.request({
            ...request,
            headers: { ...request.headers, "idempotency-key": key },
          });
        },
      }),
    ],
    [
      "another body for the same key",
      /one key, two requests/,
      (http, chance) => ({
        ...http,
        request: (request) => {
          const body = request.body?.slice();
          body?.fill(48 + chance.integer(9), -2, -1);
          return http.request({ ...request, ...(body === undefined ? {} : { body }) });
        },
      }),
    ],
    [
      "an answer before the effect",
      /arrived/,
      (http, chance) => ({
        ...http,
        request: (request) => {
          const real = http.request(request);
          if (!chance.oneIn(2)) return real;
          real.catch(() => undefined);
          return Promise.resolve(answered);
        },
      }),
    ],
  ];
  it.each(bugs)("finds %s", async (_, says, plant) => {
    const found: string[] = [];
    for (let seed = 1; seed <= 6 && found.length === 0; seed++) {
      const { code, text } = await runSeed({ seed, sqlite, crypto }, (options) =>
        createRestWorld(options, plant),
      );
      if (code === 2 && says.test(text)) found.push(text);
    }
    expect(found).toHaveLength(1);
  });

  it("runs again step by step", async () => {
    const knobs = { calls: 10, devices: 1 };
    const verdict = await runSeedTwice({ seed: 3, sqlite, crypto, knobs }, createRestWorld);
    expect(verdict.code, told(verdict)).toBe(0);
  });
});

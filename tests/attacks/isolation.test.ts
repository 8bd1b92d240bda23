/**
 * Row 28, for every route: what belongs to another tenant, or to scopes that one may not read, is answered as what
 * is not there: the same status, the same body, the same headers. How long it takes, `timing.test.ts` asks.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { mediaTypes } from "@holdfast/core";
import { routes } from "@holdfast/server";
import { attacks, grounds, type Others, pull } from "./others.ts";

let here: Others;

/** All that an answer tells, request id and date apart. */
async function seen(answer: Response): Promise<unknown> {
  const text = await answer.text();
  const body = text.replace(/"request_id":"[^"]*"/, '"request_id":""');
  const headers = [...answer.headers].filter(
    ([name]) => name !== "date" && name !== "x-request-id",
  );
  return { status: answer.status, headers, body };
}

async function alike(
  foreign: () => Promise<Response>,
  absent: () => Promise<Response>,
  status: number,
): Promise<void> {
  const before = await here.digest();
  const one = await seen(await foreign());
  expect(one).toEqual(await seen(await absent()));
  expect(one).toMatchObject({ status });
  expect(await here.digest()).toBe(before);
}

/** Answers of one's own tenant: nothing of another may be in them. */
const lists = ["devices", "grants", "checkpoint", "inclusion", "consistency", "leaves", "tail"];
const open = ["hello"];

describe.each(grounds)("row 28: others' things look like what is not there, on $name", (ground) => {
  beforeAll(async () => {
    here = await ground.start();
  });
  afterAll(() => here.end());

  it.each(attacks.map((attack, at) => [attack.route, at, attack] as const))(
    "%s, attack %i",
    async (_route, _at, { foreign, absent, status }) => {
      await alike(
        () => foreign(here),
        () => absent(here),
        status,
      );
    },
  );

  it("what lists one's own names nothing of others", async () => {
    const { lab, mine, admin, theirs, theirFounder } = here;
    const names = [theirs, theirFounder].flatMap(({ tenant, device, incarnation, events }) => [
      tenant,
      device,
      incarnation,
      ...events.flatMap(({ leaf, header }) => [leaf, header.scope, header.stream, header.id]),
    ]);
    const { checkpoint } = (await (await lab.get("/v1/log/checkpoint", admin)).json()) as {
      checkpoint: string;
    };
    const size = Number(checkpoint.split("\n")[1]);
    const texts = [
      await (await lab.get("/v1/devices", admin)).text(),
      await (await lab.get("/v1/grants?after=0", admin)).text(),
      await (await lab.get(`/v1/log/leaves?from=0&to=${size}`, admin)).text(),
      await (await lab.get(`/v1/log/inclusion?index=0&size=${size}`, admin)).text(),
      await (await lab.get(`/v1/log/consistency?before=1&size=${size}`, admin)).text(),
      Buffer.from(await (await pull(here, { own: true }, admin)).arrayBuffer()).toString("latin1"),
      checkpoint,
    ];
    for (const name of names) for (const text of texts) expect(text).not.toContain(name);
    expect(texts.some((text) => text.includes(mine.device))).toBe(true);
  });

  it("a tail says nothing of another tenant's growth", async () => {
    const { lab, admin, theirs } = here;
    const tail = await lab.get("/v1/tail", admin);
    expect(tail.headers.get("content-type")).toBe(mediaTypes.events);
    theirs.record([{}]);
    await lab.engine.receipted(theirs, 2);
    lab.api.stop();
    const text = await tail.text();
    expect(text).toContain("event: end");
    expect(text).not.toContain("hint");
  });

  it("covers every route: attacked by another's ids, or a list of one's own", () => {
    const covered = new Set([...attacks.map(({ route }) => route), ...lists, ...open, "codes"]);
    expect(routes.map(({ name }) => name).filter((name) => !covered.has(name))).toEqual([]);
  });
});

/** Row 28: a valid token of one tenant against everything of another. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { encodePush, mediaTypes } from "@holdfast/core";
import {
  createInvitationCode,
  createPseudonym,
  createPushingDevice,
  type PushingDevice,
} from "@holdfast/testkit";
import { bearer, crypto, refusalOf, startTestApi, type TestApi } from "./lab.ts";

let lab: TestApi;
let victim: PushingDevice;
let stranger: PushingDevice;
let token: string;
beforeAll(async () => {
  lab = await startTestApi();
  const { chance, server, clock } = lab.engine;
  victim = lab.engine.founder;
  victim.record([{ type: "NoteAdded" }]);
  await lab.engine.receipted(victim, 0);
  stranger = createPushingDevice({ crypto, chance, tenant: createPseudonym(chance) });
  const code = createInvitationCode({ crypto, chance });
  await server.addFoundingCode(code.digest, clock.now() + 60_000);
  await server.enrol(stranger.enrol(code));
  token = await lab.token(stranger);
});
afterAll(() => lab.close());

const pull = (scopes: unknown) =>
  lab.post(
    "/v1/pull",
    { scopes, after: 0, events: 100, bytes: 1_000_000, checkpoint: 0, held: {}, own: true },
    token,
  );

/** Everything of an answer that its caller sees, without what differs for every request. */
async function seen(answer: Response): Promise<unknown> {
  const body = (await answer.text()).replace(/"request_id":"[^"]*"/, "");
  const headers = Object.fromEntries(answer.headers);
  return {
    status: answer.status,
    body,
    headers: { ...headers, date: "", "x-request-id": "" },
  };
}

describe("row 28: another tenant", () => {
  it("pulls nothing of it: every scope is every scope of its own tenant", async () => {
    const page = Buffer.from(await (await pull("*")).arrayBuffer()).toString("latin1");
    for (const { header, leaf } of victim.events) {
      expect(page).not.toContain(header.scope);
      expect(page).not.toContain(leaf);
    }
    expect(page).not.toContain(victim.device);
  });

  it("gets the answer of what is not there: scope, device, stream", async () => {
    const scope = victim.events.at(-1)?.header.scope;
    expect(await seen(await pull([scope]))).toEqual(await seen(await pull(["A".repeat(22)])));
    const revoke = (device: string) =>
      lab.post("/v1/devices/revoke", { device, why: "lost" }, token);
    const foreign = await revoke(victim.device);
    expect(foreign.status).toBe(404);
    expect(await seen(foreign)).toEqual(await seen(await revoke("A".repeat(22))));
    const stream = victim.events.at(-1)?.header.stream ?? "";
    const conflicts = async (name: string): Promise<unknown> =>
      (await lab.get(`/v1/conflicts?stream=${name}`, token)).json();
    expect(await conflicts(stream)).toEqual(await conflicts("A".repeat(22)));
  });

  it("does not list its devices", async () => {
    const answer = (await (await lab.get("/v1/devices", token)).json()) as {
      devices: { device: string }[];
    };
    expect(answer.devices.map(({ device }) => device)).not.toContain(victim.device);
  });

  it("does not push to its logs, and nothing is taken", async () => {
    const push = async (device: PushingDevice): Promise<Response> =>
      fetch(`${lab.url}/v1/push`, {
        method: "POST",
        headers: { ...bearer(token), "content-type": mediaTypes.push },
        body: Buffer.from(encodePush(device.push(0))),
      });
    expect(await refusalOf(await push(victim))).toMatchObject({
      status: 404,
      code: "push_foreign",
    });
    expect((await push(stranger)).status).toBe(200);
  });

  it("hears nothing of its growth", async () => {
    const tail = await lab.get("/v1/tail", token);
    victim.record([{ type: "NoteAdded" }]);
    await lab.engine.receipted(victim, victim.events.length - 1);
    lab.api.stop();
    expect(await tail.text()).not.toContain("hint");
  });
});

/** The live tail with time by hand: readers that are slow, gone, or do not read. */
import { describe, expect, it } from "vitest";
import { limits } from "@holdfast/core";
import { openEventTail } from "@holdfast/server";
import { createManualClock } from "@holdfast/testkit";

const caller = { tenant: "t", device: "d", incarnation: "i" };

function lab(lifeMs: number) {
  const clock = createManualClock();
  let tell: (head: number) => void = () => undefined;
  let watched = "";
  let listening = 0;
  let ended = 0;
  const server = {
    watch(tenant: string, listener: typeof tell) {
      watched = tenant;
      tell = listener;
      listening++;
      return () => void listening--;
    },
    checkpoint: () => Promise.resolve({ checkpoint: "" }),
  };
  const admitted = { ...caller, expires: clock.now() + lifeMs };
  const tail = openEventTail({ server, clock, timers: clock }, admitted, () => void ended++);
  return {
    clock,
    tail,
    tell: (tenant: string, head: number) => {
      if (tenant === watched) tell(head);
    },
    state: () => ({ listening, ended, timers: clock.pending }),
  };
}

async function textOf(body: ReadableStream<Uint8Array>): Promise<string> {
  return new Response(body as ReadableStream<Uint8Array<ArrayBuffer>>).text();
}

const over = { listening: 0, ended: 1, timers: 0 };

describe("live tail", () => {
  it("tells the newest hint to a slow reader, and no other tenant's", async () => {
    const { tail, tell, clock, state } = lab(60_000);
    for (let head = 1; head <= 1_000; head++) tell("t", head);
    tell("other", 9_999);
    const text = textOf(tail.body);
    // The reader takes what lies there before the time goes on.
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
    clock.advance(60_000);
    const said = await text;
    expect(said).not.toContain("9999");
    expect(said).toContain('"head":1000');
    expect(said.split("event: hint").length).toBeLessThan(20);
    expect(said.endsWith("event: end\ndata: {}\n\n")).toBe(true);
    expect(state()).toEqual(over);
  });

  it("lets a reader go that does not read", () => {
    const { tell, clock, state } = lab(limits.tokenLifeMs);
    for (let head = 1; head <= 100; head++) tell("t", head);
    clock.advance(limits.tailHeartbeatMs * 3);
    expect(state().ended).toBe(0);
    clock.advance(limits.tailHeartbeatMs);
    expect(state()).toEqual(over);
  });

  it("forgets a reader who leaves", async () => {
    const { tail, tell, clock, state } = lab(60_000);
    await tail.body.cancel();
    expect(state()).toEqual(over);
    tell("t", 1);
    clock.advance(60_000);
    expect(state()).toEqual(over);
  });
});

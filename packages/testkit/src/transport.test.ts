import { describe, expect, it } from "vitest";
import { createFakeSyncEngine } from "./fake-sync-engine.ts";
import { createFakeTransport } from "./fake-transport.ts";
import { createManualClock } from "./manual-clock.ts";
import { createMemorySyncServer } from "./memory-sync.ts";
import { transportSuite } from "./transport.suite.ts";

const check = (fact: boolean, text: string): void => {
  expect(fact, text).toBe(true);
};

transportSuite({ describe, it, check }, "script over a server in memory", () => {
  const clock = createManualClock();
  const over = createMemorySyncServer({ clock }).transport;
  const transport = createFakeTransport({ over, timers: clock, fate: () => "answered" });
  return { transport, close: () => undefined };
});

it("a fake engine says what it is told and remembers what it was asked", async () => {
  const engine = createFakeSyncEngine();
  const heard: string[] = [];
  const end = engine.subscribe(({ push }) => heard.push(push));
  engine.start();
  engine.become({ push: "backing-off", lastFailure: "network_unreachable" });
  end();
  engine.become({ push: "idle" });
  expect(heard).toEqual(["idle", "backing-off"]);
  expect((await engine.syncNow()).status).toBe("drained");
  expect(engine.asked).toEqual(["subscribe", "start", "syncNow"]);
});

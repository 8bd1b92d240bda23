/**
 * The circuit breaker: the path fails so many requests in a row, and the device is asked to sync again and again.
 * The breaker must open, admit one probe after each cooldown, close at the first that is answered, and lose nothing.
 * What is sent meanwhile is counted on the path.
 */
import type { Breaker } from "@holdfast/core";
import { syncStore } from "@holdfast/node";
import { loadDrafts } from "../events.ts";
import type { Series } from "../plot.ts";
import { type Measured, rest, rounded, type Suite } from "../suite.ts";

const events = 25;
const deadlineMs = 300_000;

/** The breaker under failures in a row. */
export const breaker: Suite = {
  name: "breaker",
  figures: () => [
    "failures",
    "trips",
    "probes",
    "requests_while_open",
    "held_back",
    "failing_s",
    "recovery_ms",
  ],
  async run({ site, sizes, pace }): Promise<Measured> {
    const { device, proxy } = await site();
    const { breakerFailures: failures, breakerCooldownMs: cooldownMs } = sizes;
    const counts = { failed: 0, probes: 0, whileOpen: 0, heldBack: 0 };
    const line: [number, number][] = [];
    const began = performance.now();
    let lastFailure = began;
    const endpoint = device.store.server()?.url;
    const state = (): Breaker | undefined =>
      device.desk.breakers().find((each) => each.endpoint === endpoint);
    const tripsBefore = state()?.trips ?? 0;
    const progress = pace("breaker", failures);
    let isAnswered = false;
    proxy.choose(() => {
      const { state: now = "closed" } = state() ?? {};
      // The probe that is answered goes on with more than one request; a failed one ends with its first.
      if (now === "half-open" && !isAnswered) counts.probes++;
      if (now === "open") counts.whileOpen++;
      isAnswered = counts.failed >= failures;
      if (isAnswered) return { kind: "pass" };
      counts.failed++;
      lastFailure = performance.now();
      line.push([(lastFailure - began) / 1_000, counts.failed]);
      progress.update(counts.failed);
      return { kind: "answer", status: 503 };
    });
    const cooldown = { cooldownFirstMs: cooldownMs, cooldownMostMs: cooldownMs };
    const engine = syncStore(device.store, { tail: false, breaker: cooldown });
    const states = new Set<string>();
    try {
      await device.store.append(loadDrafts(0, events));
      while (performance.now() - began < deadlineMs) {
        const { status, failure } = await engine.syncNow();
        states.add(state()?.state ?? "closed");
        if (failure === "breaker_open") counts.heldBack++;
        if (status === "drained") break;
        // Asked far more often than it may try: what does not go out is held back by the breaker alone.
        await rest(cooldownMs / 4);
      }
    } finally {
      await engine.close();
      proxy.choose(() => ({ kind: "pass" }));
      progress.end();
    }
    const recoveryMs = performance.now() - lastFailure;
    const after = state();
    const { waiting } = device.store.status().outbox;
    const series: Series[] = [{ name: "requests that failed", points: line }];
    return {
      settings: { failures, cooldown_ms: cooldownMs, events },
      figures: {
        failures: counts.failed,
        trips: (after?.trips ?? 0) - tripsBefore,
        probes: counts.probes,
        requests_while_open: counts.whileOpen,
        held_back: counts.heldBack,
        failing_s: rounded((lastFailure - began) / 1_000),
        recovery_ms: rounded(recoveryMs, 0),
      },
      checks: {
        it_opened: states.has("open") && (after?.trips ?? 0) > tripsBefore,
        it_probed: counts.probes > 0,
        it_closed: after?.state === "closed" && after.failures === 0,
        // Both lanes may be on their way when it opens; after that one probe goes at a time.
        nothing_passed_it: counts.whileOpen <= 1,
        nothing_is_lost: waiting === 0,
      },
      charts: {
        breaker: {
          title: `${failures} failures in a row, cooldown ${cooldownMs} ms`,
          x: "seconds",
          y: "failed requests",
          series,
        },
      },
    };
  },
};

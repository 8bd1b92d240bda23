/**
 * How long an event takes to its receipt over a path that delays and fails. Events arrive at a fixed rate, whatever
 * became of those before; the time of each runs from the moment it was due, so that a stall is seen in every event
 * that it held up (no coordinated omission).
 */
import { syncStore } from "@holdfast/node";
import type { FaultProxy } from "@holdfast/server/fault-proxy";
import type { SimulatedDevice } from "../../simulated-device.ts";
import { loadDraft } from "../events.ts";
import type { Pace } from "../pace.ts";
import { percentileLine, summarize } from "../percentiles.ts";
import { type Measured, rest, rounded, type Suite, timingFigures, timingNames } from "../suite.ts";

const deadlineMs = 600_000;

/** Latency of delivery. */
export const latency: Suite = {
  name: "latency",
  figures: () => [
    ...timingNames,
    "delivered_percent",
    "delivered_per_s",
    "requests",
    "failed_requests",
  ],
  async run({ site, sizes, path, chance, pace }): Promise<Measured> {
    const { device, proxy } = await site();
    const { latencyEvents: events, latencyRate: rate } = sizes;
    proxy.choose(() => faultOf(path, chance()));
    const before = failedBy(proxy);
    const requests = proxy.traffic.requests;
    const engine = syncStore(device.store, { tail: false, pollMs: deadlineMs });
    const progress = pace("latency", events);
    const began = performance.now();
    try {
      engine.start();
      const samples = await arrivals(device, events, 1_000 / rate, progress);
      const seconds = (performance.now() - began) / 1_000;
      progress.end();
      const summary = summarize(samples);
      return {
        settings: {
          events,
          arrivals_per_s: rate,
          path_delay_ms: path.delayMs,
          path_failing_percent: path.failing * 100,
        },
        figures: {
          ...timingFigures(summary),
          delivered_percent: rounded((100 * samples.length) / events),
          delivered_per_s: rounded(samples.length / seconds, 1),
          requests: proxy.traffic.requests - requests,
          failed_requests: failedBy(proxy) - before,
        },
        checks: { every_event_is_delivered: samples.length === events },
        charts: {
          latency: {
            title: `From recorded to receipt: ${path.delayMs} ms delay, ${path.failing * 100} % of requests fail`,
            x: "share of events, percent",
            y: "milliseconds",
            series: [
              { name: `${events} events, ${rate} a second`, points: percentileLine(samples) },
            ],
          },
        },
      };
    } finally {
      await engine.close();
      proxy.choose(() => ({ kind: "pass" }));
    }
  },
};

/** Half of what fails never reaches the server; the other half is done there and its answer lost. */
function faultOf({ delayMs, failing }: { delayMs: number; failing: number }, drawn: number) {
  if (drawn >= failing) return { kind: "pass", delayMs } as const;
  return drawn < failing / 2
    ? ({ kind: "refuse", delayMs } as const)
    : ({ kind: "drop-answer", delayMs } as const);
}

function failedBy({ met }: FaultProxy): number {
  return met.refuse + met["drop-answer"];
}

/** Milliseconds of every event that was delivered in time. */
async function arrivals(
  { store }: SimulatedDevice,
  events: number,
  everyMs: number,
  progress: Pace,
): Promise<readonly number[]> {
  const samples: number[] = [];
  const signal = AbortSignal.timeout(deadlineMs);
  const began = performance.now();
  const deliver = async (number: number, due: number): Promise<void> => {
    const answer = await store.append(loadDraft(number));
    if (answer.status !== "appended") return;
    try {
      await answer.delivered({ signal });
    } catch {
      // Not delivered in time: it is missing in the count.
      return;
    }
    samples.push(performance.now() - due);
    progress.update(samples.length);
  };
  const under: Promise<void>[] = [];
  for (let at = 0; at < events; at++) {
    const due = began + at * everyMs;
    const wait = due - performance.now();
    if (wait > 0) await rest(wait);
    under.push(deliver(at, due));
  }
  await Promise.all(under);
  return samples;
}

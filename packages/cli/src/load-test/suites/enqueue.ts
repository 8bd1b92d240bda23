/**
 * How fast events are recorded: one call after another, each durable before the next (latency of an append), then
 * the same number of calls at once, which share commits (throughput of a burst). Nothing is delivered.
 */
import { openStore } from "@holdfast/node";
import { projections, registry } from "../../store.ts";
import { loadDraft } from "../events.ts";
import { percentileLine, summarize } from "../percentiles.ts";
import type { Series } from "../plot.ts";
import { type Measured, rounded, type Suite, timingFigures, timingNames } from "../suite.ts";

const rates = ["single_per_s", "burst_per_s"] as const;

/** Throughput and latency of `append`. */
export const enqueue: Suite = {
  name: "enqueue",
  figures: ({ enqueue: sizes }) =>
    sizes.flatMap((size) => [...timingNames, ...rates].map((name) => `${size}.${name}`)),
  async run({ makeStore, sizes, pace }): Promise<Measured> {
    const place = await makeStore("enqueue");
    const store = await openStore({ ...place, registry, projections, app: "holdfast-load-test" });
    const figures: Record<string, number> = {};
    const series: Series[] = [];
    // The store's own first events wait, too.
    const before = store.status().outbox.waiting;
    let number = 0;
    let lost = 0;
    try {
      for (const size of sizes.enqueue) {
        const progress = pace(`enqueue ${size}`, 2 * size);
        const samples: number[] = [];
        for (let at = 0; at < size; at++) {
          const began = performance.now();
          const { status } = await store.append(loadDraft(number++));
          samples.push(performance.now() - began);
          if (status !== "appended") lost++;
          progress.update(at + 1);
        }
        const began = performance.now();
        const calls = Array.from({ length: size }, () => store.append(loadDraft(number++)));
        const answers = await Promise.all(calls);
        const burstMs = performance.now() - began;
        lost += answers.filter(({ status }) => status !== "appended").length;
        progress.update(2 * size);
        progress.end();
        const summary = summarize(samples);
        const named = {
          ...timingFigures(summary),
          single_per_s: rounded(1_000 / summary.mean, 1),
          burst_per_s: rounded((size * 1_000) / burstMs, 1),
        };
        for (const [name, value] of Object.entries(named)) figures[`${size}.${name}`] = value;
        series.push({
          name: `${size.toLocaleString("en-US")} events`,
          points: percentileLine(samples),
        });
      }
      const { outbox } = store.status();
      return {
        settings: { rounds: sizes.enqueue.join(", ") },
        figures,
        checks: { every_append_is_queued: lost === 0 && outbox.waiting - before === number },
        charts: {
          enqueue: {
            title: "Latency of append, one at a time",
            x: "share of appends, percent",
            y: "milliseconds",
            series,
          },
        },
      };
    } finally {
      await store.close();
    }
  },
};

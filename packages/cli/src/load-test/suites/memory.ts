/**
 * What a long queue costs: a process of its own records events that nobody delivers, and its memory is looked at on
 * the way; then another process opens the same store. Resident memory is what the system counts; the heap is that
 * of JavaScript after a collection, and says whether entries are held that lie in the database.
 */
import { startHand } from "../job.ts";
import { type Measured, rounded, type Suite } from "../suite.ts";

const each = 100;
const looks = 50;

/** Memory with entries waiting. */
export const memory: Suite = {
  name: "memory",
  figures: () => [
    "opened_empty_mb",
    "queued_mb",
    "most_mb",
    "opened_queued_mb",
    "heap_before_mb",
    "heap_after_mb",
    "heap_bytes_per_entry",
    "second_half_mb",
    "append_per_s",
  ],
  async run({ makeStore, sizes, pace }): Promise<Measured> {
    const place = await makeStore("memory");
    const entries = sizes.memoryEntries;
    const line: [number, number][] = [];
    const progress = pace("memory", entries);
    const every = Math.max(each, Math.ceil(entries / looks / each) * each);
    const job = { kind: "queue", place, entries, each, every } as const;
    const appender = await startHand(job, (said) => {
      if (said.kind !== "queued") return;
      line.push([said.entries, said.rss]);
      progress.update(said.entries);
    });
    const before = appender.ready;
    const began = performance.now();
    let after: Awaited<ReturnType<typeof appender.go>>;
    let seconds: number;
    try {
      const done = appender.go();
      after = await done;
      seconds = (performance.now() - began) / 1_000;
    } finally {
      await appender.stop();
      progress.end();
    }
    const reader = await startHand({ kind: "look", place });
    await reader.stop();
    const half = line.find(([queued]) => queued >= entries / 2)?.[1] ?? 0;
    const last = line.at(-1)?.[1] ?? 0;
    return {
      settings: { entries, events_each_append: each },
      figures: {
        opened_empty_mb: rounded(before.rss, 1),
        queued_mb: rounded(after.rss, 1),
        most_mb: rounded(Math.max(...line.map(([, rss]) => rss), after.rss), 1),
        opened_queued_mb: rounded(reader.ready.rss, 1),
        heap_before_mb: rounded(before.heap, 1),
        heap_after_mb: rounded(after.heap, 1),
        heap_bytes_per_entry: rounded(((after.heap - before.heap) * 1e6) / entries, 0),
        second_half_mb: rounded(last - half, 1),
        append_per_s: rounded(entries / seconds, 0),
      },
      checks: { every_entry_was_queued: line.at(-1)?.[0] === entries },
      charts: {
        memory: {
          title: "Resident memory while the outbox grows",
          x: "entries that wait",
          y: "megabytes",
          series: [{ name: "process that appends", points: [[0, before.rss], ...line] }],
        },
      },
    };
  },
};

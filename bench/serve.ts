/** A server in a process of its own, as `holdfast serve` starts it, that remembers when it last committed. */
import { silentObserver } from "@holdfast/core";
import { loadConfig, type RunningServer, startServer } from "@holdfast/server/serve";
import { answerParent } from "./children.ts";

let server: RunningServer | undefined;
let committedAt = 0n;

function running(): RunningServer {
  if (server === undefined) throw new Error("the server was not started");
  return server;
}

/** Settings of the node beside the folder; as `loadConfig` takes them. */
export type NodeFlags = NonNullable<NonNullable<Parameters<typeof loadConfig>[0]>["flags"]>;

const acts = {
  async start(folder: string, tails: number, more: NodeFlags = {}): Promise<string> {
    // All devices have one address here.
    const bounds = { device_tails: tails, address_rate: 100_000, device_rate: 100_000 };
    const flags = { data: folder, port: 0, ...bounds, ...more };
    server = await startServer(loadConfig({ flags }), {
      ...silentObserver,
      count(metric) {
        // The last thing before COMMIT: what is measured from here includes the commit.
        if (metric === "server_checkpoints") committedAt = process.hrtime.bigint();
      },
    });
    return server.code ?? (await server.foundingCode());
  },
  foundingCode: (): Promise<string> => running().foundingCode(),
  url: (): string => running().url,
  /** Nanoseconds of the machine's monotonic clock, as text. */
  committed: (): string => String(committedAt),
  rss: (): number => process.memoryUsage.rss() / 1e6,
};

export type ServeActs = typeof acts;

if (import.meta.main) {
  answerParent(acts, async () => {
    await server?.close();
    process.exit(0);
  });
}

import type { CompactReport } from "@holdfast/core";
import { compactStore } from "@holdfast/node";
import { Command } from "commander";
import { counted, type Output } from "../output.ts";
import { storeDirectory, withStore } from "../store.ts";
import { contextOf, count, span } from "./options.ts";

interface CompactCommandOptions {
  readonly keepSnapshots?: number;
  readonly retention?: number;
  readonly rewrite?: boolean;
  readonly actor?: string;
  readonly why?: string;
  readonly reason?: string;
}

/** `holdfast compact`: takes away what a store no longer needs, while it is used. */
export function compactCommand(): Command {
  return new Command("compact")
    .description(
      "take away what the store no longer needs, while it is used; the log stays as it is",
    )
    .option("--keep-snapshots <n>", "snapshots that stay of each stream; without it 16", count)
    .option(
      "--retention <span>",
      "archived dead letters and attempts stay so long; without it 30d",
      span,
    )
    .option(
      "--rewrite",
      "write the file anew, once, where it cannot shrink otherwise: writers wait",
    )
    .option("--actor <who>", "on whose authority, in words or as an id")
    .option("--why <code>", "reason code, recorded with it")
    .option("--reason <words>", "the reason in words")
    .action(async (_, command: Command) => {
      const { options, output } = contextOf<CompactCommandOptions>(command);
      const { keepSnapshots, retention, rewrite, actor, why, reason } = options;
      await withStore(options, "write", async (store) => {
        const report = await compactStore(store, storeDirectory(options), {
          rewrite: rewrite === true,
          ...(keepSnapshots !== undefined && { snapshotsKept: keepSnapshots }),
          ...(retention !== undefined && { retentionMs: retention }),
          ...(actor !== undefined && { actor }),
          ...(why !== undefined && { why }),
          ...(reason !== undefined && { reason }),
        });
        await tell(report, output);
      });
    });
}

async function tell(report: CompactReport, output: Output): Promise<void> {
  const { builds, snapshots, letters, bytesBefore, bytesAfter, freeBytes, resumed } = report;
  const freed = Math.max(0, bytesBefore - bytesAfter);
  await output.row({
    bytes_before: bytesBefore,
    bytes_after: bytesAfter,
    bytes_freed: freed,
    bytes_free_inside: freeBytes,
    builds,
    snapshots,
    dead_letters: letters,
    resumed,
  });
  await output.say(`${counted(freed, "byte")} freed: ${bytesBefore} before, ${bytesAfter} now.`);
  await output.say(
    `  ${counted(builds, "build")} of read models, ${counted(snapshots, "snapshot")}, ${counted(letters, "dead letter")}`,
  );
  if (freeBytes > 0) {
    await output.say(
      `  ${counted(freeBytes, "byte")} are free inside the file and filled again; --rewrite gives them back`,
    );
  }
}

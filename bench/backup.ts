/** A store of 1 KB events backed up and restored, each in a process of its own. */
import { rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { generateX25519Identity, identityToRecipient } from "age-encryption";
import { runChildJson } from "./children.ts";
import { createGround, databasePath, load, makeStore, openBenchStore } from "./ground.ts";
import { gate, median, type Report, round } from "./measure.ts";

export interface BackupOptions {
  readonly folder?: string | undefined;
  readonly events: number;
  readonly rounds: number;
}

interface Taken {
  readonly milliseconds: number;
  readonly before: number;
  readonly peak: number;
  readonly bytes: number;
  readonly archiveBytes: number;
}

const child = fileURLToPath(new URL("backup.child.ts", import.meta.url));

export async function benchBackup(options: BackupOptions): Promise<Report> {
  const ground = createGround(options.folder);
  try {
    await makeStore(ground);
    const store = await openBenchStore(ground);
    await load(store, { count: options.events, each: 1_000, streams: 1_000 });
    await store.close();
    const identity = await generateX25519Identity();
    const recipient = await identityToRecipient(identity);
    const file = join(ground.folder, "backup.tar.zst.age");
    const restored = join(ground.folder, "restored");
    const backups: Taken[] = [];
    const restores: Taken[] = [];
    for (let round = 0; round < options.rounds; round++) {
      rmSync(file, { force: true });
      rmSync(restored, { recursive: true, force: true });
      const run = (act: string, directory: string, key: string): Promise<Taken> =>
        runChildJson<Taken>(child, [act, directory, ground.stateDirectory, file, key]);
      backups.push(await run("backup", ground.directory, recipient));
      restores.push(await run("restore", restored, identity));
    }
    const content = (backups[0]?.archiveBytes ?? 0) / 1e6;
    const rate = (runs: readonly Taken[]): number =>
      round(content / (median(runs.map((run) => run.milliseconds)) / 1_000), 1);
    const peak = (runs: readonly Taken[]): number => Math.max(...runs.map((run) => run.peak));
    const above = (runs: readonly Taken[]): number =>
      round(Math.max(...runs.map((run) => run.peak - run.before)), 1);
    return {
      subject: "backup",
      ratio: round(Math.min(rate(backups), rate(restores)) / 60),
      events: options.events,
      database_mb: round(statSync(databasePath(ground)).size / 1e6, 1),
      archive_mb: round(content, 1),
      file_mb: round((backups[0]?.bytes ?? 0) / 1e6, 1),
      backup_ms: backups.map((run) => run.milliseconds),
      restore_ms: restores.map((run) => run.milliseconds),
      peak_mb: { backup: peak(backups), restore: peak(restores) },
      gates: [
        gate("backup, MB of archive a second", rate(backups), ">=", 60),
        gate("restore, verified, MB of archive a second", rate(restores), ">=", 60),
        gate("backup, MB above the loaded process", above(backups), "<", 100),
        gate("restore, MB above the loaded process", above(restores), "<", 100),
      ],
    };
  } finally {
    ground.remove();
  }
}

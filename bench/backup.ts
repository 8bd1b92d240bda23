/** A store of 1 KB events backed up and restored, each in a process of its own. */
import { rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { generateX25519Identity, identityToRecipient } from "age-encryption";
import { runChildJson } from "./children.ts";
import { createGround, databasePath, makeLoadedStore } from "./ground.ts";
import { gate, median, type Report, round } from "./measure.ts";

export interface BackupOptions {
  readonly folder?: string | undefined;
  readonly events: number;
  readonly rounds: number;
}

interface Taken {
  readonly milliseconds: number;
  /** Processor time, ms: all threads. */
  readonly cpu: number;
  readonly before: number;
  readonly peak: number;
  readonly bytes: number;
  readonly archiveBytes: number;
}

const child = fileURLToPath(new URL("backup.child.ts", import.meta.url));

/** Rates and memory of one store, backed up and restored in turn. */
interface Measured {
  readonly database_mb: number;
  readonly archive_mb: number;
  readonly file_mb: number;
  readonly backup_ms: readonly number[];
  readonly restore_ms: readonly number[];
  readonly peak_mb: { readonly backup: number; readonly restore: number };
  /** MB of archive a second, at the median time. */
  readonly rates: { readonly backup: number; readonly restore: number };
  /** MB of archive in a second of processor time: what a busy machine distorts less. */
  readonly by_cpu: { readonly backup: number; readonly restore: number };
  /** MB above the loaded process. */
  readonly above: { readonly backup: number; readonly restore: number };
}

export async function benchBackup(options: BackupOptions): Promise<Report> {
  const { events } = options;
  const small = await measure(options, events, 1_024);
  const large = await measure(options, Math.ceil(events / 10), 16 * 1_024);
  const { rates, above } = small;
  return {
    subject: "backup",
    ratio: round(Math.min(rates.backup, rates.restore) / 60),
    events,
    ...small,
    large,
    gates: [
      gate("backup, MB of archive a second", rates.backup, ">=", 60),
      gate("restore, verified, MB of archive a second", rates.restore, ">=", 60),
      gate("backup, MB above the loaded process", above.backup, "<", 100),
      gate("restore, MB above the loaded process", above.restore, "<", 100),
      gate("backup of 16 KB events, MB a second", large.rates.backup, ">=", 60),
      gate("restore of 16 KB events, MB a second", large.rates.restore, ">=", 60),
    ],
  };
}

async function measure(
  { folder, rounds }: BackupOptions,
  events: number,
  payloadBytes: number,
): Promise<Measured> {
  const ground = createGround(folder);
  try {
    const store = await makeLoadedStore(ground, {
      count: events,
      each: 500,
      streams: 1_000,
      payloadBytes,
    });
    await store.close();
    const identity = await generateX25519Identity();
    const recipient = await identityToRecipient(identity);
    const file = join(ground.folder, "backup.tar.zst.age");
    const restored = join(ground.folder, "restored");
    const run = (act: string, directory: string, key: string): Promise<Taken> =>
      runChildJson<Taken>(child, [act, directory, ground.stateDirectory, file, key]);
    const backups: Taken[] = [];
    const restores: Taken[] = [];
    for (let done = 0; done < rounds; done++) {
      rmSync(file, { force: true });
      rmSync(restored, { recursive: true, force: true });
      backups.push(await run("backup", ground.directory, recipient));
      restores.push(await run("restore", restored, identity));
    }
    const content = (backups[0]?.archiveBytes ?? 0) / 1e6;
    const times = (runs: readonly Taken[]) => runs.map(({ milliseconds }) => milliseconds);
    const both = <T>(of: (runs: readonly Taken[]) => T) => {
      return { backup: of(backups), restore: of(restores) };
    };
    return {
      database_mb: round(statSync(databasePath(ground)).size / 1e6, 1),
      archive_mb: round(content, 1),
      file_mb: round((backups[0]?.bytes ?? 0) / 1e6, 1),
      backup_ms: times(backups),
      restore_ms: times(restores),
      peak_mb: both((runs) => Math.max(...runs.map(({ peak }) => peak))),
      rates: both((runs) => round((content * 1_000) / median(times(runs)), 1)),
      by_cpu: both((runs) => round((content * 1_000) / median(runs.map(({ cpu }) => cpu)), 1)),
      above: both((runs) => round(Math.max(...runs.map(({ peak, before }) => peak - before)), 1)),
    };
  } finally {
    ground.remove();
  }
}

/** A PostgreSQL that a test starts, kills, and replaces by its standby. Its socket lies in a folder of its own. */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { chmodSync, cpSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { plainDriver, urlOf } from "./cluster.ts";
import { giveAll, makeCluster, preparePrograms, type Programs, runCluster } from "./programs.ts";

/** One server of PostgreSQL. */
export interface Instance {
  /** Folder of its socket. */
  readonly sockets: string;
  url(database: string): string;
  /** Starts it, and waits until it takes connections. */
  start(): Promise<void>;
  /** SIGKILL of its first process: the others notice, and end. */
  kill(): Promise<void>;
  /** Ends it in order. */
  stop(): Promise<void>;
}

/** A cluster under that folder; it does not run yet. */
export function createInstance(folder: string, settings: Settings = {}): Instance {
  const programs = preparePrograms(folder);
  const data = join(folder, "data");
  makeCluster(programs, data);
  return instanceOver(programs, folder, settings);
}

type Settings = Readonly<Record<string, string>>;

/** A standby of a cluster that does not run: a copy of its files, which follows it once both run. */
export function createStandby(primary: string, folder: string, settings: Settings = {}): Instance {
  const programs = preparePrograms(folder);
  const data = join(folder, "data");
  cpSync(join(primary, "data"), data, { recursive: true, preserveTimestamps: true });
  chmodSync(data, 0o700);
  writeFileSync(join(data, "standby.signal"), "");
  giveAll(data);
  const conninfo = `host=${primary} port=5432 user=postgres application_name=standby`;
  return instanceOver(programs, folder, { ...settings, primary_conninfo: conninfo });
}

function instanceOver(programs: Programs, folder: string, settings: Settings): Instance {
  const data = join(folder, "data");
  let running: ChildProcess | undefined;
  async function end(signal: NodeJS.Signals): Promise<void> {
    const child = running;
    running = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    child.kill(signal);
    await once(child, "exit");
  }
  return {
    sockets: folder,
    url: (name) => urlOf(folder, name),
    async start() {
      // After a kill its processes may still hold the shared memory: it refuses to start for a moment.
      for (;;) {
        const child = runCluster(programs, { data, sockets: folder }, settings);
        if (await isReady(child)) {
          running = child;
          return;
        }
        await sleep(100);
      }
    },
    kill: () => end("SIGKILL"),
    stop: () => end("SIGINT"),
  };
}

/** False when it has ended instead. Throws when that has another cause than a life before. */
async function isReady(child: ChildProcess): Promise<boolean> {
  let log = "";
  const ready = new Promise<boolean>((resolve) => {
    child.stderr?.on("data", (text: Buffer) => {
      log = `${log}${text.toString()}`.slice(-20_000);
      if (/ready to accept (read-only )?connections/.test(log)) resolve(true);
    });
    child.once("exit", () => {
      resolve(false);
    });
  });
  if (await ready) return true;
  if (/pre-existing shared memory|lock file/.test(log)) return false;
  throw new Error(log);
}

/** Where clients connect: a socket that leads to one instance, and later to another. */
export interface Gate {
  url(database: string): string;
  lead(to: Instance): void;
}

export function createGate(folder: string): Gate {
  mkdirSync(folder);
  const name = ".s.PGSQL.5432";
  return {
    url: (database) => urlOf(folder, database),
    lead(to) {
      rmSync(join(folder, name), { force: true });
      symlinkSync(join(to.sockets, name), join(folder, name));
    },
  };
}

/** Runs one statement as the owner. */
export async function asOwner(url: string, sql: string): Promise<void> {
  const driver = plainDriver(url);
  try {
    await driver.lend((connection) => connection.exec(sql));
  } finally {
    await driver.close();
  }
}

/**
 * Devices for tests: tokens of SoftHSM, a TPM 2.0 by `swtpm`, a Secret Service by gnome-keyring; each with why it
 * is not here, if it is not. Nothing of them outlives the test's folder.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { join } from "node:path";
import { utf8 } from "@holdfast/core";
import type { TokenAccess } from "@holdfast/node";

const softHsmModule = "/usr/lib/softhsm/libsofthsm2.so";
const tpmModules = [
  "/usr/lib/x86_64-linux-gnu/pkcs11/libtpm2_pkcs11.so",
  "/usr/lib/aarch64-linux-gnu/pkcs11/libtpm2_pkcs11.so",
];
const pins = { user: "1234", officer: "12345678" } as const;

function has(command: string): boolean {
  const folders = (process.env["PATH"] ?? "").split(":");
  return folders.some((folder) => existsSync(join(folder, command)));
}

function hasBinding(): boolean {
  try {
    createRequire(import.meta.url).resolve("pkcs11js");
    return true;
  } catch {
    return false;
  }
}

/** Why there is no SoftHSM here; `undefined` when there is. */
export function softHsmMissing(): string | undefined {
  if (!existsSync(softHsmModule) || !has("softhsm2-util")) return "softhsm2 is not installed";
  return hasBinding() ? undefined : "pkcs11js is not installed";
}

/** Why there is no TPM here. */
export function tpmMissing(): string | undefined {
  if (tpmModules.every((path) => !existsSync(path))) return "libtpm2-pkcs11 is not installed";
  for (const command of ["swtpm", "swtpm_setup", "pkcs11-tool"]) {
    if (!has(command)) return `${command} is not installed`;
  }
  return hasBinding() ? undefined : "pkcs11js is not installed";
}

/** Why there is no Secret Service here. */
export function keychainMissing(): string | undefined {
  for (const command of ["dbus-daemon", "gnome-keyring-daemon"]) {
    if (!has(command)) return `${command} is not installed`;
  }
  return undefined;
}

/** A token of SoftHSM that can be taken out. */
export interface SoftHsm {
  readonly access: TokenAccess;
  takeOut(): void;
  putBack(): void;
}

/** Makes a token in that folder. */
export function createSoftHsm(folder: string, label = "holdfast"): SoftHsm {
  const tokens = join(folder, "tokens");
  const config = join(folder, "softhsm2.conf");
  mkdirSync(tokens, { recursive: true });
  const lines = [`directories.tokendir = ${tokens}`, "objectstore.backend = file"];
  writeFileSync(config, [...lines, "log.level = ERROR", ""].join("\n"));
  const environment = { SOFTHSM2_CONF: config };
  execFileSync(
    "softhsm2-util",
    ["--init-token", "--free", "--label", label, "--so-pin", pins.officer, "--pin", pins.user],
    { env: { ...process.env, ...environment }, stdio: "ignore" },
  );
  return {
    access: { module: softHsmModule, token: label, pin: utf8(pins.user), environment },
    takeOut() {
      renameSync(tokens, `${tokens}.away`);
      mkdirSync(tokens);
    },
    putBack() {
      rmSync(tokens, { recursive: true });
      renameSync(`${tokens}.away`, tokens);
    },
  };
}

/** A TPM in software that can be stopped. */
export interface SoftTpm {
  readonly access: TokenAccess;
  /** As a device that hangs: SIGSTOP. */
  hang(): void;
  /** SIGCONT. */
  wake(): void;
  end(): Promise<void>;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise<void>((resolve) => server.close(() => resolve()));
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

/** Manufactures a TPM in that folder, starts it and makes a token on it, all through PKCS#11. */
export async function createSoftTpm(folder: string, label = "holdfast"): Promise<SoftTpm> {
  const state = join(folder, "tpm");
  const store = join(folder, "pkcs11");
  mkdirSync(state, { recursive: true });
  mkdirSync(store, { recursive: true });
  const module = tpmModules.find((path) => existsSync(path)) ?? "";
  const made = ["--tpm2", "--tpmstate", state, "--createek", "--pcr-banks", "sha256"];
  execFileSync("swtpm_setup", made, { stdio: "ignore" });
  const tpm = await startSoftTpm(state);
  const environment = {
    TPM2_PKCS11_TCTI: `swtpm:host=127.0.0.1,port=${tpm.port}`,
    TPM2_PKCS11_STORE: store,
    TSS2_LOG: "all+NONE",
  };
  const tool = (...args: readonly string[]): void => {
    execFileSync("pkcs11-tool", ["--module", module, "--slot-index", "0", ...args], {
      env: { ...process.env, ...environment },
      stdio: "ignore",
    });
  };
  tool("--init-token", "--label", label, "--so-pin", pins.officer);
  tool("--init-pin", "--login", "--so-pin", pins.officer, "--pin", pins.user);
  return {
    access: { module, token: label, pin: utf8(pins.user), environment },
    hang: () => void tpm.process.kill("SIGSTOP"),
    wake: () => void tpm.process.kill("SIGCONT"),
    async end() {
      if (tpm.process.exitCode !== null) return;
      const ended = new Promise((resolve) => tpm.process.once("exit", resolve));
      tpm.process.kill("SIGCONT");
      tpm.process.kill("SIGKILL");
      await ended;
    },
  };
}

/** Two neighbouring ports: the library takes the one after the server's for control. */
async function startSoftTpm(
  state: string,
): Promise<{ readonly process: ChildProcess; readonly port: number }> {
  for (let attempt = 1; ; attempt++) {
    const port = await freePort();
    const started = spawn(
      "swtpm",
      [
        "socket",
        "--tpm2",
        "--tpmstate",
        `dir=${state}`,
        "--server",
        `type=tcp,port=${port},bindaddr=127.0.0.1`,
        "--ctrl",
        `type=tcp,port=${port + 1},bindaddr=127.0.0.1`,
        "--flags",
        "not-need-init,startup-clear",
        "--pid",
        `file=${join(state, "pid")}`,
      ],
      { stdio: "ignore" },
    );
    const answers = await listens(started, join(state, "pid"));
    if (answers) return { process: started, port };
    if (attempt === 5) throw new Error("swtpm does not start");
  }
}

/** It writes its process id once it listens. */
async function listens(started: ChildProcess, pidFile: string): Promise<boolean> {
  for (let looks = 0; looks < 500; looks++) {
    if (started.exitCode !== null) return false;
    if (existsSync(pidFile)) return true;
    await new Promise((resolve) => {
      setTimeout(resolve, 10);
    });
  }
  return false;
}

/** A session bus with an unlocked keychain on it, that this process uses until it ends. */
export interface Keychain {
  end(): Promise<void>;
}

/**
 * Starts a bus and gnome-keyring on it, with its files in that folder. The library finds the bus by the
 * environment of this process.
 */
export async function startKeychain(folder: string): Promise<Keychain> {
  mkdirSync(folder, { recursive: true });
  const bus = spawn("dbus-daemon", ["--session", "--nofork", "--print-address"], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  const address = await firstLine(bus);
  const before = process.env["DBUS_SESSION_BUS_ADDRESS"];
  process.env["DBUS_SESSION_BUS_ADDRESS"] = address;
  // It becomes a daemon once it is unlocked and has its name on the bus, and ends with the bus.
  execFileSync("gnome-keyring-daemon", ["--unlock", "--components=secrets"], {
    env: { ...process.env, XDG_DATA_HOME: folder, XDG_RUNTIME_DIR: folder, HOME: folder },
    input: "for tests\n",
    stdio: ["pipe", "ignore", "ignore"],
  });
  return {
    async end() {
      if (before === undefined) delete process.env["DBUS_SESSION_BUS_ADDRESS"];
      else process.env["DBUS_SESSION_BUS_ADDRESS"] = before;
      await endOf(bus);
    },
  };
}

function firstLine(started: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    started.stdout?.once("data", (bytes: Buffer) => {
      resolve(bytes.toString("utf8").split("\n")[0] ?? "");
    });
    started.once("exit", () => {
      reject(new Error("it ended before it said anything"));
    });
  });
}

async function endOf(started: ChildProcess): Promise<void> {
  if (started.exitCode !== null || started.signalCode !== null) return;
  const ended = new Promise((resolve) => started.once("exit", resolve));
  started.kill("SIGKILL");
  await ended;
}

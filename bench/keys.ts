/**
 * Key providers: how fast they are ready, how soon a fallback answers, and how many operations succeed while a
 * device fails, hangs and returns by a seeded schedule.
 *
 * A token's process is started while the keyring is read and a passphrase is stretched (`prepared`); `cold` is with
 * its start. Devices are SoftHSM and a TPM by swtpm where they are installed; the gates of what is not are left out. `raw` is the fork of an empty process, which a token's process cannot beat.
 */
import { fork } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import {
  createKeyring,
  createSoftwareProvider,
  isProviderFailure,
  type KeyAuditEvent,
  keyPolicyDefault,
  type KeyProvider,
  limits,
  type OpenProvider,
  utf8,
} from "@holdfast/core";
import {
  createNodeCrypto,
  initStore,
  openStore,
  openTokenProvider,
  prepareTokenProcess,
  systemRandom,
  type TokenAccess,
} from "@holdfast/node";
import {
  createChance,
  createManualClock,
  createMemoryRecordFile,
  createNoteDraft,
  createNoteRegistry,
  createSimulatedDevice,
  createSimulatedProvider,
  settle,
} from "@holdfast/testkit";
import { createSoftHsm, createSoftTpm, softHsmMissing, tpmMissing } from "../tests/keys/devices.ts";
import { gate, median, type Report, round, stopwatch, stopwatchAsync, timing } from "./measure.ts";

/** Sizes of the subject. */
export interface KeysOptions {
  readonly folder?: string | undefined;
  readonly rounds: number;
  readonly hangs: number;
  readonly operations: number;
}

const crypto = createNodeCrypto();
const random = systemRandom;
const cost = { memoryKib: 8, passes: 1, lanes: 1 };
const empty = fileURLToPath(new URL("empty.mjs", import.meta.url));

export async function benchKeys(options: KeysOptions): Promise<Report> {
  const folder = mkdtempSync(join(options.folder ?? tmpdir(), "holdfast-bench-keys-"));
  const tpm = tpmMissing() === undefined ? await createSoftTpm(join(folder, "tpm")) : undefined;
  try {
    const hsm = softHsmMissing() === undefined ? createSoftHsm(join(folder, "hsm")) : undefined;
    const software = await initialisation(options.rounds, softwareAgain());
    const token = (name: "pkcs11" | "tpm", access: TokenAccess | undefined) =>
      access && {
        prepared: () => initialisation(options.rounds, tokenAgain(name, access, "prepared")),
        cold: () => initialisation(options.rounds, tokenAgain(name, access, "cold")),
      };
    const [onHsm, onTpm] = [token("pkcs11", hsm?.access), token("tpm", tpm?.access)];
    const pkcs11 = { prepared: await onHsm?.prepared(), cold: await onHsm?.cold() };
    const tpm20 = { prepared: await onTpm?.prepared(), cold: await onTpm?.cold() };
    const simulated = await fallbackOfSimulator(options.hangs * 10);
    const hung = tpm && (await fallbackOfTpm(folder, tpm, options.hangs));
    const available = await availability(options.operations);
    const bare = await initialisation(options.rounds, emptyProcess);
    const initialised = [
      ["software", software],
      ["pkcs11", pkcs11.prepared],
      ["tpm", tpm20.prepared],
    ] as const;
    return {
      subject: "keys",
      ratio: round(bare.p50 / (pkcs11.cold ?? software).p50),
      initialisation_ms: { software, pkcs11, tpm: tpm20 },
      raw: bare,
      fallback_beyond_deadline_ms: { simulator: simulated, tpm: hung ?? null },
      availability: available,
      gates: [
        ...initialised.flatMap(([name, one]) =>
          one === undefined ? [] : [gate(`${name} ready p50 ms`, one.p50, "<", 100)],
        ),
        gate("fallback beyond the deadline, simulator, p95 ms", simulated.p95, "<", 50),
        ...(hung === undefined
          ? []
          : [gate("fallback beyond the deadline, hung TPM, p95 ms", hung.p95, "<", 50)]),
        gate("operations that succeed, %", available.percent, ">=", 99.9),
      ],
    };
  } finally {
    await tpm?.end();
    rmSync(folder, { recursive: true });
  }
}

async function initialisation(rounds: number, once: () => Promise<number>) {
  const times: number[] = [];
  for (let at = 0; at < rounds; at++) times.push(await once());
  return timing(times);
}

/** What is left when the key is derived: the derivation here is as cheap as it gets. */
function softwareAgain(): () => Promise<number> {
  const make = (parameters?: KeyProvider["parameters"]): KeyProvider =>
    createSoftwareProvider({ crypto, random, passphrase: "for the bench", parameters, cost });
  const { parameters } = make();
  return () =>
    Promise.resolve(
      stopwatch(() => {
        make(parameters).close();
      }),
    );
}

/** To a provider that has unwrapped: module, login, key; `cold`: and the start of its process. */
function tokenAgain(
  name: "pkcs11" | "tpm",
  access: TokenAccess,
  start: "cold" | "prepared",
): () => Promise<number> {
  let known:
    | { readonly parameters: KeyProvider["parameters"]; readonly wrapped: Uint8Array }
    | undefined;
  const open = (parameters: KeyProvider["parameters"] | undefined): Promise<KeyProvider> =>
    openTokenProvider({ ...access, name, crypto, random, parameters });
  const context = utf8("bench");
  return async () => {
    if (known === undefined) {
      const first = await open(undefined);
      const wrapped = await first.wrap(random.bytes(32), context);
      known = { parameters: first.parameters, wrapped };
      first.close();
    }
    const { parameters, wrapped } = known;
    if (start === "prepared") {
      prepareTokenProcess();
      await sleep(preparedMs);
    }
    let provider: KeyProvider | undefined;
    const ms = await stopwatchAsync(async () => {
      provider = await open(parameters);
      await provider.unwrap(wrapped, context);
    });
    provider?.close();
    // A TPM without a resource manager takes the next connection when this one has ended.
    await sleep(endedMs);
    return ms;
  };
}

async function emptyProcess(): Promise<number> {
  return stopwatchAsync(async () => {
    const child = fork(empty, { stdio: ["ignore", "ignore", "ignore", "ipc"] });
    await new Promise((resolve) => child.once("exit", resolve));
  });
}

/** Long enough for a process to start, and to end, on a busy machine; no part of what is measured. */
const [preparedMs, endedMs] = [1_500, 300];

const allowed = ["simulator", "software"] as const;

/** Hangs in real time: what a signature takes beyond the deadline, through keyring, guard and choice. */
async function fallbackOfSimulator(times: number) {
  const { systemClock, systemTimers } = await import("@holdfast/node");
  const beyond: number[] = [];
  for (let at = 0; at < times; at++) {
    const device = createSimulatedDevice();
    const { keyring, sign } = await simulatedKeyring(device, systemClock, systemTimers);
    await sign();
    device.state = "hangs";
    beyond.push((await stopwatchAsync(sign)) - limits.keyDeadlineMs);
    keyring[Symbol.dispose]();
  }
  return timing(beyond);
}

/** Appends to a store on a TPM that is stopped: the event is durable, signed by the passphrase's provider. */
async function fallbackOfTpm(
  folder: string,
  tpm: { readonly access: TokenAccess; hang(): void; wake(): void },
  times: number,
) {
  const place = { directory: join(folder, "store"), stateDirectory: join(folder, "state") };
  const passphrase = "for the bench";
  const audit: KeyAuditEvent[] = [];
  const keys = {
    tpm: tpm.access,
    deadlines: { open: 10_000 },
    breaker: { cooldownFirstMs: 20, cooldownMostMs: 200 },
    audit: { note: (event: KeyAuditEvent) => void audit.push(event) },
  };
  await initStore({ ...place, passphrase, tenant: "bench", keys });
  const options = { ...place, passphrase, keys, registry: createNoteRegistry(), projections: [] };
  const store = await openStore(options);
  const beyond: number[] = [];
  const tier = (): string | undefined => store.read({ type: "NoteTaken" }).at(-1)?.header.tier;
  for (let at = 0; at < times; at++) {
    // A busy machine may have it fall back by itself: only what begins on the TPM counts.
    do await store.append(createNoteDraft("s", "before"));
    while (tier() !== "os");
    tpm.hang();
    const ms = await stopwatchAsync(() => store.append(createNoteDraft("s", "hung")));
    beyond.push(ms - limits.keyDeadlineMs);
    tpm.wake();
    await untilReturned(audit);
  }
  await store.close();
  return timing(beyond);
}

async function untilReturned(audit: KeyAuditEvent[]): Promise<void> {
  while (!audit.some(({ kind }) => kind === "key_fallback_ended")) {
    await sleep(10);
  }
  audit.length = 0;
}

async function simulatedKeyring(
  device: ReturnType<typeof createSimulatedDevice>,
  clock: { now(): number; monotonic(): number },
  timers: Parameters<typeof createSimulatedProvider>[0]["timers"],
) {
  const software = (parameters?: KeyProvider["parameters"]): KeyProvider =>
    createSoftwareProvider({ crypto, random, passphrase: "for the bench", parameters, cost });
  const onDevice = (parameters?: KeyProvider["parameters"]): KeyProvider =>
    createSimulatedProvider({ over: software(parameters), device, timers, assurance: "hardware" });
  const openProvider: OpenProvider = ({ name, parameters }) =>
    name === "simulator" ? Promise.resolve(onDevice(parameters)) : software(parameters);
  const keyring = await createKeyring({
    crypto,
    random,
    files: { store: createMemoryRecordFile(), registered: createMemoryRecordFile() },
    provider: onDevice(),
    others: [software()],
    openProvider,
    use: { policy: { ...keyPolicyDefault, allowed }, time: { clock, timers } },
    tenant: "bench",
  });
  const refs = new Map<string, Uint8Array>();
  for (const { id } of keyring.providers.standings()) {
    const made = await keyring.providers.get(id)?.generateSigningKey("ed25519");
    if (made !== undefined) refs.set(id, made.ref);
  }
  /** As the writer does: with the chosen provider, and with the next one when it fails. */
  const sign = async (): Promise<void> => {
    for (let attempt = 1; ; attempt++) {
      const { id, provider } = keyring.providers.choose();
      try {
        const signer = await provider.signer(refs.get(id) ?? new Uint8Array(0), "ed25519");
        await signer?.(utf8("a commit note"));
        return;
      } catch (error) {
        if (!isProviderFailure(error) || attempt === limits.keyProvidersMax) throw error;
      }
    }
  };
  return { keyring, sign };
}

/** A device that works half of the time, in virtual time; the seed replays the schedule. */
async function availability(operations: number) {
  const clock = createManualClock();
  const chance = createChance(20_261_130);
  const device = createSimulatedDevice();
  const { keyring, sign } = await simulatedKeyring(device, clock, clock);
  const took: number[] = [];
  let failed = 0;
  let until = 0;
  for (let at = 0; at < operations; at++) {
    if (clock.monotonic() >= until) {
      const states = ["well", "hangs", "well", "gone", "well", "hangs"] as const;
      device.state = states[chance.integer(states.length)] ?? "well";
      device.latencyMs = chance.integer(30);
      until = clock.monotonic() + 50 + chance.integer(4_000);
    }
    const start = clock.monotonic();
    try {
      await settle(clock, sign());
    } catch (error) {
      if (!isProviderFailure(error)) throw error;
      failed += 1;
    }
    took.push(clock.monotonic() - start);
    clock.advance(chance.integer(40));
  }
  const { calls } = device;
  keyring[Symbol.dispose]();
  return {
    operations,
    failed,
    percent: round((100 * (operations - failed)) / operations),
    on_device_calls: calls(),
    median_ms: median(took),
    slowest_ms: Math.max(...took),
  };
}

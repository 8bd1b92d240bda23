/** Erasing a store: what it needs, what it leaves, and what it says when something hinders it. */
import { spawn } from "node:child_process";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { once } from "node:events";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Release, silentObserver } from "@holdfast/core";
import {
  backUpKeyring,
  checkStart,
  eraseStore,
  initStore,
  resumeErase,
  unfinishedErase,
} from "@holdfast/node";
import { createRegistry } from "@holdfast/core";
import { describe, expect, test } from "vitest";
import { fill } from "../backup/lab.ts";
import { childEnv, nodeCommand, runChild } from "../faults/child.ts";
import { withScratch } from "../faults/native.ts";
import { childSecrets, open, passphrase, placeIn, problemsOf } from "../store/lab.ts";
import {
  bundleAnew,
  certificateOf,
  eraseProblems,
  type EraseGround,
  filesBelow,
  found,
  groundIn,
  reasonWords,
} from "./lab.ts";

const child = fileURLToPath(new URL("workloads.child.ts", import.meta.url));

function onGround(events: number, use: (ground: EraseGround) => Promise<void>): Promise<void> {
  return withScratch("erase", async (folder) => use(await groundIn(folder, events)));
}

/** A process that does something and stays, until `end`. */
async function staying(...words: readonly string[]) {
  const [command = "", ...rest] = nodeCommand([child, ...words]);
  const running = spawn(command, rest, {
    env: childEnv(childSecrets),
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(running.stdout, "data");
  return {
    pid: running.pid,
    async end(): Promise<void> {
      running.kill("SIGKILL");
      await once(running, "close");
    },
  };
}

/** Ends by SIGKILL once the plan has that phase. */
async function eraseUntil({ folder, keys }: EraseGround, phase: string): Promise<void> {
  const env = { ...childSecrets, HOLDFAST_TEST_PHASE: phase };
  const argv = [child, "erase-until", folder, keys.identity];
  expect(await runChild({ argv, env })).toMatchObject({ signal: "SIGKILL", stderr: "" });
}

describe("the interlock", () => {
  test("a store is not erased without a release, by types", () => {
    const options = {
      directory: "",
      passphrase: "",
      actor: "",
      why: "",
      exportFile: "",
      certificateFile: "",
    };
    // @ts-expect-error: the release is missing.
    const without = (): unknown => eraseStore(options);
    // @ts-expect-error: an answer is no proof before its status was looked at.
    const unlooked = (): unknown => eraseStore(options, { status: "drained" });
    expect([without, unlooked].length).toBe(2);
  });

  test("nor at run time, nor by a release of another state", async () => {
    await onGround(10, async (ground) => {
      const { folder, options } = ground;
      const real = await ground.release();
      for (const forged of [undefined, null, {}, { ...real }, JSON.parse(JSON.stringify(real))]) {
        const refused = eraseStore(options, forged as Release);
        await expect(refused).rejects.toThrow("interlock_unproven");
      }
      const more = await fill(folder, 500, 1);
      await expect(eraseStore(options, real)).rejects.toThrow("interlock_stale");
      expect(existsSync(options.exportFile)).toBe(false);
      expect(unfinishedErase(options)).toBeUndefined();
      expect(await problemsOf(folder, [...ground.promises, ...more])).toEqual([]);
    });
  });

  test("what was recorded after an interruption is not destroyed by its end", async () => {
    await onGround(10, async (ground) => {
      const { folder, options, storeId } = ground;
      await eraseUntil(ground, "exported");
      const plan = join(folder, "state", `${storeId}.erase`);
      // A process that had the store open all along is not kept out by the plan.
      renameSync(plan, `${plan}.aside`);
      const more = await fill(folder, 500, 2);
      renameSync(`${plan}.aside`, plan);
      await expect(resumeErase(options)).rejects.toThrow("interlock_stale");
      expect(existsSync(options.exportFile)).toBe(false);
      expect(await problemsOf(folder, [...ground.promises, ...more])).toEqual([]);
      await bundleAnew(ground);
      await ground.erase();
      expect(eraseProblems(ground)).toEqual([]);
    });
  });

  test("another process that has the store open keeps it", async () => {
    await onGround(10, async (ground) => {
      const { folder, options } = ground;
      const other = await staying("keep", folder);
      await expect(ground.erase()).rejects.toThrow("store_busy");
      await other.end();
      expect(unfinishedErase(options)).toBeUndefined();
      expect(await problemsOf(folder, ground.promises)).toEqual([]);
    });
  });
});

describe("an erase", () => {
  test("leaves nothing of keys and content, and says what it did", async () => {
    await onGround(60, async (ground) => {
      const { folder, options, promises } = ground;
      const keyring = readFileSync(join(options.directory, "keyring"));
      const store = await open(folder, "store", true);
      const actors = [store.actorId("nurse/7"), store.actorId(options.actor)];
      const opened = JSON.stringify(store.read({ type: "IncarnationOpened" }));
      await store.close();
      // Wraps and what else of the keyring is no words, without its public keys.
      const secrets = [...keyring.toString("utf8").matchAll(/[A-Za-z0-9+/=_-]{40,}/g)]
        .map(([text]) => text)
        .filter((text) => !opened.includes(text));
      expect(secrets.length).toBeGreaterThan(5);
      expect(found(folder, secrets.slice(0, 1)).length).toBeGreaterThanOrEqual(2);
      const database = readFileSync(join(options.directory, "store.db")).subarray(4_096, 8_192);

      const erased = await ground.erase();
      expect(erased).toMatchObject({ restart: true, providersLeft: [], copiesLeft: [] });
      expect(eraseProblems(ground)).toEqual([]);
      const canaries = ["record 1 ", "record 42 ", "subject/1", passphrase];
      const control = join(folder, "control.txt");
      writeFileSync(control, `${canaries.join()}${secrets.join()}`);
      const hits = found(folder, [...canaries, ...secrets, database]);
      expect(hits.filter((hit) => !hit.startsWith(control))).toEqual([]);
      expect(hits.length).toBe(canaries.length + secrets.length);
      expect(found(folder, [promises[0]?.split(" ")[0] ?? ""])).toEqual([]);

      const exported = readFileSync(options.exportFile, "utf8");
      for (const hidden of [...actors, reasonWords, options.actor]) {
        expect(exported).not.toContain(hidden);
      }
      expect(exported).toContain("[REDACTED]");
      const { events, logs, removed } = certificateOf(ground);
      expect(events).toBeGreaterThan(60);
      expect(logs.at(-1)?.size).toBeGreaterThan(60);
      expect(removed.map(({ name }) => name)).toEqual(
        expect.arrayContaining(["store.db", "keyring"]),
      );
      await expect(open(folder)).rejects.toThrow("store_missing");
    });
  });

  test("destroys registered copies of the keyring, or says which stay", async () => {
    await onGround(5, async (ground) => {
      const { folder, options } = ground;
      const [reached, moved, other] = ["one", "two", "three"].map((name) => join(folder, name)) as [
        string,
        string,
        string,
      ];
      for (const out of [reached, moved, other]) await backUpKeyring({ ...options, out });
      renameSync(moved, join(folder, "moved"));
      writeFileSync(other, "something of somebody else");
      const { copiesLeft } = await ground.erase();
      expect(copiesLeft).toEqual([moved, other]);
      expect(existsSync(reached)).toBe(false);
      expect(readFileSync(other, "utf8")).toBe("something of somebody else");
      expect(certificateOf(ground).keyring_copies).toEqual([
        { path: reached, destroyed: true },
        { path: moved, destroyed: false },
        { path: other, destroyed: false },
      ]);
    });
  });

  test("does not say destroyed of a copy whose medium went meanwhile", async () => {
    await onGround(5, async (ground) => {
      const { folder, options } = ground;
      const medium = join(folder, "medium");
      const out = join(medium, "copy");
      await backUpKeyring({ ...options, out });
      const part = join(folder, "medium", ".copy.4194304.partial");
      writeFileSync(part, readFileSync(out));
      const observer = {
        ...silentObserver,
        log: (...[, name, fields]: Parameters<typeof silentObserver.log>) => {
          if (name === "erase_advanced" && fields?.["phase"] === "destroying")
            renameSync(medium, join(folder, "pocket"));
        },
      };
      const { copiesLeft } = await eraseStore({ ...options, observer }, await ground.release());
      expect(copiesLeft).toEqual([out]);
      expect(certificateOf(ground).keyring_copies).toEqual([{ path: out, destroyed: false }]);
    });
  });

  test("takes along what a killed process left beside a copy", async () => {
    await onGround(5, async (ground) => {
      const { folder, options } = ground;
      const out = join(folder, "copy");
      await backUpKeyring({ ...options, out });
      const part = join(folder, ".copy.4194304.partial");
      const another = join(folder, ".copy.17.partial");
      writeFileSync(part, readFileSync(out));
      writeFileSync(another, "something of somebody else");
      await ground.erase();
      expect([out, part, another].filter((path) => existsSync(path))).toEqual([another]);
    });
  });

  test("has every copy of the keyring gone when it says that keys are destroyed", async () => {
    await onGround(5, async (ground) => {
      const { folder, options } = ground;
      const aside = join(folder, "store.quarantine-1");
      mkdirSync(aside);
      const keyring = readFileSync(join(options.directory, "keyring"));
      for (const name of ["keyring", "keyring.registered"])
        writeFileSync(join(aside, name), keyring);
      await eraseUntil(ground, "keys-destroyed");
      expect(found(folder, [keyring])).toEqual([]);
    });
  });

  test("writes nothing where it removes everything, nor over what is there", async () => {
    await onGround(5, async (ground) => {
      const { folder, options } = ground;
      const release = await ground.release();
      const inside = [join(options.directory, "a"), join(folder, "state", "a")];
      for (const path of inside) {
        for (const wish of [{ exportFile: path }, { certificateFile: path }]) {
          const refused = eraseStore({ ...options, ...wish }, release);
          await expect(refused).rejects.toThrow("erase_place_refused");
        }
      }
      const { exportFile } = options;
      const twice = eraseStore({ ...options, certificateFile: exportFile }, release);
      await expect(twice).rejects.toThrow("erase_place_refused");
      writeFileSync(exportFile, "mine");
      await expect(eraseStore(options, release)).rejects.toThrow("output_exists");
      expect(readFileSync(exportFile, "utf8")).toBe("mine");
      expect(await problemsOf(folder, ground.promises)).toEqual([]);
    });
  });
});

test("takes along what lies beside the store: copies, journals, unfinished restores", async () => {
  await onGround(5, async (ground) => {
    const { folder, options, storeId } = ground;
    const keyring = readFileSync(join(options.directory, "keyring"));
    const files = [
      join(folder, ".store.4194304.restoring", "keyring"),
      join(folder, "store.quarantine-1", "keyring"),
      join(folder, "store.quarantine-1", "store.db-wal"),
      join(options.directory, "store.db.before-migration"),
      join(options.directory, "store.db.before-migration-wal"),
      join(options.directory, ".keyring.0123456789ab.tmp"),
      join(folder, "state", storeId, "migration"),
      join(folder, "state", `.${storeId}.erase.0123456789ab.tmp`),
    ];
    const others = [join(folder, ".other.17.restoring"), join(folder, "store.quarantine-x")];
    for (const path of [...files, ...others]) {
      mkdirSync(join(path, ".."), { recursive: true });
      writeFileSync(path, keyring);
    }
    await ground.erase();
    expect(files.filter((path) => existsSync(path))).toEqual([]);
    expect(others.filter((path) => !existsSync(path))).toEqual([]);
    for (const path of others) rmSync(path);
    expect(eraseProblems(ground)).toEqual([]);
  });
});

describe("an unfinished erase", () => {
  test("keeps everybody out, and is named", async () => {
    await onGround(5, async (ground) => {
      const { folder, options } = ground;
      await eraseUntil(ground, "keys-destroyed");
      const before = filesBelow(folder);
      for (const folderGone of [false, true]) {
        if (folderGone) rmSync(options.directory, { recursive: true });
        await expect(open(folder)).rejects.toThrow("erase_unfinished");
        await expect(open(folder, "store", true)).rejects.toThrow("erase_unfinished");
        const wish = { ...placeIn(folder), passphrase, tenant: "Ward 3" };
        await expect(initStore(wish)).rejects.toThrow("erase_unfinished");
        const report = await checkStart({ ...options, registry: createRegistry([]) });
        expect(report.status).toBe("blocked");
        expect(report.findings.map(({ code }) => code)).toEqual(["erase_unfinished"]);
        expect(report.actions.join()).toContain("holdfast erase --resume");
        if (!folderGone) expect(filesBelow(folder)).toEqual(before);
      }
      const { directory, stateDirectory } = placeIn(folder);
      await resumeErase({ directory, stateDirectory });
      expect(eraseProblems(ground)).toEqual([]);
    });
  });

  test("with a damaged plan destroys nothing", async () => {
    await onGround(5, async (ground) => {
      const { folder, options, storeId } = ground;
      await eraseUntil(ground, "destroying");
      const plan = join(folder, "state", `${storeId}.erase`);
      const text = readFileSync(plan, "utf8");
      const before = filesBelow(folder);
      writeFileSync(plan, text.replace(options.directory, `${folder}/elsewhere`));
      expect(await resumeErase(options)).toBeUndefined();
      await expect(open(folder)).rejects.toThrow("erase_plan_unreadable");
      expect(filesBelow(folder)).toEqual(before);
      writeFileSync(plan, text);
      await resumeErase(options);
      expect(eraseProblems(ground)).toEqual([]);
    });
  });
});

describe("an incomplete erase", () => {
  test("names a file that is not Holdfast's, and leaves it", async () => {
    await onGround(5, async (ground) => {
      const { options } = ground;
      const strange = join(options.directory, "notes.txt");
      writeFileSync(strange, "not ours");
      await expect(ground.erase()).rejects.toMatchObject({
        code: "erase_incomplete",
        details: { left: 1, file: "store/notes.txt" },
      });
      expect(readFileSync(strange, "utf8")).toBe("not ours");
      expect(filesBelow(options.directory)).toEqual([strange]);
      expect(existsSync(options.certificateFile)).toBe(false);
      rmSync(strange);
      await resumeErase(options);
      expect(eraseProblems(ground)).toEqual([]);
    });
  });

  test.skipIf(process.platform !== "linux")("names a process that holds a file", async () => {
    await onGround(5, async (ground) => {
      const { folder, options } = ground;
      const other = await staying("hold", folder, join(options.directory, "keyring"));
      await expect(ground.erase()).rejects.toMatchObject({
        code: "erase_incomplete",
        details: { left: 0, handles: 1, process: other.pid, open: "store/keyring" },
      });
      await expect(resumeErase(options)).rejects.toThrow("erase_incomplete");
      await other.end();
      const erased = await resumeErase(options);
      expect(erased?.scan).toMatchObject({ handles: [], left: [] });
      expect(eraseProblems(ground)).toEqual([]);
    });
  });

  test("says what it was not permitted to remove", async () => {
    await onGround(5, async (ground) => {
      const { folder, options, storeId, keys } = ground;
      const guarded = join(folder, "state", storeId, "guarded");
      mkdirSync(guarded);
      writeFileSync(join(guarded, "file"), "content");
      chmodSync(guarded, 0o500);
      const isRoot = process.getuid?.() === 0;
      const nobody = 65_534;
      if (isRoot) giveTo(folder, nobody, guarded);
      const argv = [child, "erase", folder, keys.identity];
      const env = { ...childSecrets, ...(isRoot && { HOLDFAST_TEST_USER: String(nobody) }) };
      const { stdout } = await runChild({ argv, env });
      expect(stdout).toContain("error erase_incomplete state/");
      expect(stdout).toMatch(/guarded.* E(ACCES|PERM)\n/);
      expect(existsSync(options.certificateFile)).toBe(false);
      expect(unfinishedErase(options)).toMatchObject({ destroying: true });
      chmodSync(guarded, 0o700);
      await resumeErase(options);
      expect(eraseProblems(ground)).toEqual([]);
    });
  });
});

function giveTo(folder: string, user: number, except: string): void {
  const names = [folder, ...filesBelow(folder)];
  const folders = names.flatMap((path) => [path, join(path, "..")]);
  for (const path of new Set([...folders, join(folder, "state")])) {
    if (path.startsWith(folder) && !path.startsWith(except)) chownSync(path, user, user);
  }
}

import {
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  createKeyring,
  createSoftwareProvider,
  openKeyring,
  openSoftwareProvider,
  type Keyring,
} from "@holdfast/core";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createNodeCrypto } from "./crypto.ts";
import { keyringFiles, stateFolder, storeIdOf } from "./keyring-files.ts";
import { systemRandom as random } from "./random.ts";
import { createRecordFile } from "./record-file.ts";

const crypto = createNodeCrypto();
let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-keys-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

describe("record file", () => {
  it("replaces, appends, and changes its version", () => {
    const path = join(folder, "a", "keyring");
    const file = createRecordFile(path);
    expect(file.read()).toBeUndefined();
    expect(file.version()).toBeUndefined();
    expect(() => {
      file.append(Uint8Array.of(1));
    }).toThrow("ENOENT");
    file.replace(Uint8Array.of(1, 2));
    const first = file.version();
    file.append(Uint8Array.of(3));
    expect(file.read()).toEqual(Uint8Array.of(1, 2, 3));
    expect(file.version()).not.toBe(first);
    if (process.platform !== "win32") expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readdirSync(join(folder, "a"))).toEqual(["keyring"]);
  });

  it("refuses links and folders", () => {
    writeFileSync(join(folder, "real"), "x");
    symlinkSync(join(folder, "real"), join(folder, "link"));
    for (const name of ["link", "."]) {
      const file = createRecordFile(join(folder, name));
      for (const run of [
        () => file.read(),
        () => file.version(),
        () => {
          file.replace(Uint8Array.of(1));
        },
        () => {
          file.append(Uint8Array.of(1));
        },
      ]) {
        expect(run).toThrow(/^keyring_unsafe_file/);
      }
    }
    expect(readFileSync(join(folder, "real"), "utf8")).toBe("x");
  });
});

describe("keyring files", () => {
  it("finds the registered copy, by the header or by a shared line", () => {
    const [store, state] = [join(folder, "store"), join(folder, "state")];
    const storeId = "AAAAAAAAAAAAAAAAAAAAAA";
    const cost = { memoryKib: 8, passes: 1, lanes: 1 };
    const passphrase = "right";
    const provider = createSoftwareProvider({
      crypto,
      random,
      passphrase,
      parameters: undefined,
      cost,
    });
    const files = keyringFiles(store, state, storeId);
    const page = (
      createKeyring({ crypto, random, files, provider, tenant: "t", storeId }) as Keyring
    ).pageKey();
    expect(storeIdOf(crypto, store, state)).toBe(storeId);
    const path = join(store, "keyring");
    const bytes = readFileSync(path);
    bytes[3] = (bytes[3] as number) ^ 1;
    writeFileSync(path, bytes);
    expect(storeIdOf(crypto, store, state)).toBe(storeId);
    const openProvider = openSoftwareProvider({ crypto, random, passphrase });
    const again = openKeyring({ crypto, random, files, openProvider }) as Keyring;
    expect(again.pageKey()).toEqual(page);
    again.repair();
    expect(readFileSync(path)).toEqual(readFileSync(join(state, storeId, "keyring")));
    expect(() => keyringFiles(store, state, "../../etc")).toThrow(/^keyring_corrupt/);
    rmSync(path);
    expect(() => storeIdOf(crypto, store, state)).toThrow(/^keyring_missing/);
  });

  it("takes the state folder from the environment", () => {
    expect(stateFolder({ HOLDFAST_STATE: "/x" })).toBe("/x");
    expect(stateFolder({ XDG_STATE_HOME: "/y" })).toBe(join("/y", "holdfast"));
    expect(stateFolder({ XDG_STATE_HOME: "relative" })).toMatch(/holdfast$/);
  });
});

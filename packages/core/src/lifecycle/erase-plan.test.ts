import { nobleCrypto } from "../std/noble.ts";
import { describe, expect, it } from "vitest";
import {
  type ErasePlan,
  erasePhases,
  formatErasePlan,
  isDestroying,
  parseErasePlan,
} from "./erase-plan.ts";

const crypto = nobleCrypto({ bytes: (count) => new Uint8Array(count) });

const plan: ErasePlan = {
  phase: "planned",
  store: "A".repeat(22),
  directory: "ward-3/store",
  plannedAt: 1_700_000_000_000,
  actor: "admin/1",
  why: "device-returned",
  reason: undefined,
  release: "drained",
  released: [{ device: "d", incarnation: "i", own: true, size: 3, root: "r" }],
  eventId: "0192b3c0-0000-7000-8000-000000000000",
  exportFile: "audit.ndjson",
  certificateFile: "certificate.json",
  actors: "masked",
  copies: ["usb/keyring"],
  keepCopies: false,
  content: undefined,
  files: [],
};

describe("the plan of an erase", () => {
  it("comes back as it was written, in every phase", () => {
    for (const phase of erasePhases) {
      const reason = phase === "planned" ? undefined : "returned";
      const written = { ...plan, phase, reason };
      expect(parseErasePlan(crypto, formatErasePlan(crypto, written))).toEqual(written);
    }
  });

  it("is refused when any byte of it was changed, or is missing", () => {
    const bytes = formatErasePlan(crypto, plan);
    for (let at = 0; at < bytes.length; at += 7) {
      const changed = Uint8Array.from(bytes);
      changed[at] = (changed[at] as number) ^ 1;
      expect(() => parseErasePlan(crypto, changed)).toThrow(/^erase_plan_unreadable/);
      expect(() => parseErasePlan(crypto, bytes.subarray(0, at))).toThrow(/^erase_plan_unreadable/);
    }
  });

  it("has no way back from the first key on", () => {
    expect(erasePhases.filter(isDestroying)).toEqual([
      "destroying",
      "keys-destroyed",
      "files-removed",
      "scanned",
    ]);
  });
});

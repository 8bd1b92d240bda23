/**
 * Copies of a device's disk: put back in place of the newest state, or living on beside the original. What was
 * answered since the copy was made may be gone from the device, and from nowhere else.
 */
import type { Chance } from "../chance.ts";
import { asError, type Context, type Inhabitant } from "./inhabitants.ts";
import { moveIn } from "./settling-in.ts";
import { simFolders } from "./sim-store.ts";

/** Plans what the knobs ask for, at most one of each. */
export function planCopies(context: Context, chance: Chance): void {
  const { scheduler, knobs, inhabitants } = context;
  if (knobs.rewindAfterMs > 0) {
    const inhabitant = chance.pick(inhabitants);
    scheduler.after(chance.integer(knobs.rewindAfterMs), "a copy is made", () => {
      planRewind(context, inhabitant);
    });
  }
  if (knobs.cloneAfterMs > 0) {
    const original = chance.pick(inhabitants);
    scheduler.after(knobs.cloneAfterMs, "a copy comes to life", () => {
      if (context.phase === "faults") addClone(context, original);
    });
  }
}

/** Copies the disk as it is; some time later the copy is put back. */
function planRewind(context: Context, { device, work }: Inhabitant): void {
  const { scheduler, knobs, ledger } = context;
  const prefix = knobs.copyWhole ? "" : simFolders.store;
  const image = device.site.disk.image(prefix);
  const since = scheduler.now;
  scheduler.after(knobs.rewindAfterMs, `${device.name} is to be put back`, () => {
    if (context.phase !== "faults") return;
    ledger.excuse(device.name, since);
    work.forget();
    device.rewind(image, prefix);
  });
}

/** Another machine begins with what the original has; nobody tells the server. */
function addClone(context: Context, { device: original, subjects }: Inhabitant): void {
  const { inhabitants, knobs } = context;
  const clone = context.inhabit(inhabitants.length, subjects);
  const { device } = clone;
  original.markCopied();
  device.markCopied();
  device.site.disk.restore(original.site.disk.image());
  if (knobs.cloneUnnoticed) device.site.place = original.site.place;
  inhabitants.push(clone);
  device.arm();
  device.live(
    (open) => {
      moveIn(context, clone, open);
    },
    (open) =>
      context.begin(clone, open).catch((error: unknown) => {
        context.failures.push(asError(error));
      }),
  );
}

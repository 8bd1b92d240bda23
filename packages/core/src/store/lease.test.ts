import { openSqlite } from "@holdfast/node";
import { createManualClock } from "@holdfast/testkit";
import { describe, expect, it } from "vitest";
import { limits } from "../std/limits.ts";
import { createLease, type ProcessIdentity } from "./lease.ts";
import { createSchema } from "./schema.ts";
import { inTransaction } from "./sqlite-event-log.ts";

function table() {
  const driver = openSqlite({
    path: ":memory:",
    pageKey: undefined,
    readOnly: false,
    create: true,
  });
  createSchema(driver);
  const clock = createManualClock();
  const gone = new Set<string>();
  const opener = (holder: string) => {
    const process: ProcessIdentity = { holder, isGone: (other) => gone.has(other) };
    return createLease({ driver, clock, process });
  };
  const held = (lease: ReturnType<typeof opener>, token: number): { readonly wanted: boolean } =>
    inTransaction(driver, () => lease.assertHeld(token));
  return { clock, gone, opener, held };
}

describe("lease", () => {
  it("is held by one at a time, and names the holder to the others", () => {
    const { opener } = table();
    const [one, two] = [opener("one"), opener("two")];
    expect(one.tryAcquire()).toEqual({ status: "held", token: 1, tookOver: undefined });
    expect(two.tryAcquire()).toEqual({ status: "busy", holder: "one" });
    one.release(1);
    expect(two.tryAcquire()).toEqual({ status: "held", token: 2, tookOver: undefined });
    expect(one.tryAcquire()).toEqual({ status: "busy", holder: "two" });
  });

  it("is taken again by its own holder under a new token", () => {
    const { opener, held } = table();
    const one = opener("one");
    one.tryAcquire();
    expect(one.tryAcquire()).toEqual({ status: "held", token: 2, tookOver: undefined });
    expect(() => held(one, 1)).toThrow(/^lease_lost/);
    expect(held(one, 2)).toEqual({ wanted: false });
  });

  it("is taken over after it expired, not before", () => {
    const { clock, opener } = table();
    opener("one").tryAcquire();
    clock.advance(limits.leaseExpiryMs - 1);
    expect(opener("two").tryAcquire().status).toBe("busy");
    clock.advance(1);
    expect(opener("two").tryAcquire()).toEqual({ status: "held", token: 2, tookOver: "one" });
  });

  it("is taken over at once from a process that is gone", () => {
    const { gone, opener } = table();
    opener("one").tryAcquire();
    gone.add("one");
    expect(opener("two").tryAcquire()).toEqual({ status: "held", token: 2, tookOver: "one" });
  });

  it("fences a holder that slept past its expiry", () => {
    const { clock, opener, held } = table();
    const [one, two] = [opener("one"), opener("two")];
    one.tryAcquire();
    clock.advance(limits.leaseExpiryMs);
    two.tryAcquire();
    expect(() => held(one, 1)).toThrow(/^lease_lost.*token=1 current=2/);
    one.release(1);
    expect(held(two, 2)).toEqual({ wanted: false });
    two.release(2);
    expect(() => held(two, 2)).toThrow(/^lease_lost/);
  });

  it("is renewed by use", () => {
    const { clock, opener, held } = table();
    const one = opener("one");
    one.tryAcquire();
    for (let times = 0; times < 10; times++) {
      clock.advance(limits.leaseExpiryMs / 2);
      held(one, 1);
    }
    expect(opener("two").tryAcquire().status).toBe("busy");
  });

  it("is renewed when the wall clock goes back, so that it does not last for ever", () => {
    const { clock, opener, held } = table();
    const one = opener("one");
    one.tryAcquire();
    clock.setWall(clock.now() - 10 * limits.leaseExpiryMs);
    held(one, 1);
    clock.advance(limits.leaseExpiryMs);
    expect(opener("two").tryAcquire().status).toBe("held");
  });

  it("tells its holder that another wants it, until it changes hands", () => {
    const { opener, held } = table();
    const [one, two] = [opener("one"), opener("two")];
    one.tryAcquire();
    expect(held(one, 1)).toEqual({ wanted: false });
    two.tryAcquire();
    expect(held(one, 1)).toEqual({ wanted: true });
    one.release(1);
    two.tryAcquire();
    expect(held(two, 2)).toEqual({ wanted: false });
  });
});

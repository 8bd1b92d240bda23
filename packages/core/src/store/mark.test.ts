import { createNodeCrypto } from "@holdfast/node";
import { createMemoryMark } from "@holdfast/testkit";
import { describe, expect, it } from "vitest";
import { utf8 } from "../std/bytes.ts";
import { type Mark, markSlotBytes, readMark, writeMark } from "./mark.ts";

const mac = createNodeCrypto().hmac(utf8("key"));
const mark = (count: number): Mark => ({
  v: 1,
  store: "s",
  folder: "/here/é",
  identity: "1",
  device: "d",
  incarnation: "i",
  size: count * 10,
  root: "r",
  pulled: "",
  count,
});

describe("high-water mark", () => {
  it("is not there at first", () => {
    expect(readMark(mac, createMemoryMark())).toEqual({
      mark: undefined,
      damaged: 0,
      present: false,
    });
  });

  it("is the newest of two slots that are written in turn", () => {
    const file = createMemoryMark();
    for (let count = 1; count <= 5; count++) {
      writeMark(mac, file, mark(count));
      expect(readMark(mac, file)).toEqual({ mark: mark(count), damaged: 0, present: true });
    }
    expect(file.slots?.map((slot) => slot.length)).toEqual([markSlotBytes, markSlotBytes]);
  });

  it("falls back to the older slot when any byte of the newer one changes", () => {
    const file = createMemoryMark();
    writeMark(mac, file, mark(1));
    writeMark(mac, file, mark(2));
    const newer = Uint8Array.from(file.slots?.[0] as Uint8Array);
    for (let at = 0; at < markSlotBytes; at++) {
      const damaged = Uint8Array.from(newer);
      damaged[at] = (damaged[at] as number) ^ 1;
      (file.slots as [Uint8Array, Uint8Array])[0] = damaged;
      expect(readMark(mac, file)).toEqual({ mark: mark(1), damaged: 1, present: true });
    }
  });

  it("is nothing when both slots are damaged or of another key", () => {
    const file = createMemoryMark();
    writeMark(mac, file, mark(1));
    writeMark(mac, file, mark(2));
    const other = createNodeCrypto().hmac(utf8("another key"));
    expect(readMark(other, file)).toEqual({ mark: undefined, damaged: 2, present: true });
  });

  it("counts a torn first write as damaged, an empty slot as nothing", () => {
    const file = createMemoryMark();
    writeMark(mac, file, mark(1));
    const [, slot] = file.slots as [Uint8Array, Uint8Array];
    slot.fill(0x20, 40);
    expect(readMark(mac, file)).toEqual({ mark: undefined, damaged: 1, present: true });
    slot.fill(0x20);
    expect(readMark(mac, file)).toEqual({ mark: undefined, damaged: 0, present: true });
  });
});

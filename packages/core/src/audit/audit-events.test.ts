import { describe, expect, it } from "vitest";
import { auditFault, auditKinds, auditKindOf, auditTypes, checkedFacts } from "./audit-events.ts";

describe("audit events", () => {
  it("have a closed schema each: no unknown fact, none missing, none of another form", () => {
    expect(auditFault("LeaseTakenOver", { lease: "writer" })).toBe(undefined);
    expect(auditFault("LeaseTakenOver", {})).toBe("lease");
    expect(auditFault("LeaseTakenOver", { lease: "writer", holder: "pc-7" })).toBe("holder");
    expect(auditFault("LeaseTakenOver", { lease: "other" })).toBe("lease");
    expect(auditFault("StartBlocked", { code: "key_wrong", at: -1 })).toBe("at");
    expect(auditFault("StartBlocked", { code: "not a name", at: 1 })).toBe("code");
  });

  it("take only words, counts and ids: free text and key material have no place", () => {
    for (const kind of auditKinds) {
      expect(auditFault(kind, { note: "Ada Lovelace" })).toBe("note");
      expect(["key", "admin"]).toContain(auditKindOf(kind).op);
    }
    expect(auditTypes.map(({ type }) => type)).toEqual([...auditKinds]);
  });

  it("refuse facts, reasons and actors of the wrong form with the field", () => {
    const facts = { lease: "outbox", entries: undefined } as const;
    expect(checkedFacts({ kind: "LeaseForced", facts, why: "forced" })).toEqual({
      lease: "outbox",
    });
    const code = "draft_invalid";
    const refused = (entry: Parameters<typeof checkedFacts>[0], path: string): void => {
      expect(() => checkedFacts(entry)).toThrow(
        expect.objectContaining({ code, details: expect.objectContaining({ path }) as unknown }),
      );
    };
    refused({ kind: "LeaseForced", facts: { lease: "door" } }, "/facts/lease");
    refused({ kind: "LeaseForced", facts, why: "because of this" }, "/why");
    refused({ kind: "LeaseForced", facts, actor: "" }, "/actor");
  });
});

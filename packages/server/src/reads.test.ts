import {
  base64url,
  createKeyring,
  createSoftwareProvider,
  emptyRange,
  type Keyring,
  noPrevious,
  type SealedEvent,
  sealGroup,
  utf8,
} from "@holdfast/core";
import { unwrapGrant, wrapGrant } from "@holdfast/core/grant";
import { createNodeCrypto, systemRandom } from "@holdfast/node";
import { createMemoryRecordFile } from "@holdfast/testkit";
import { describe, expect, it } from "vitest";
import { createServerReader } from "./reads.ts";

const crypto = createNodeCrypto();
const random = systemRandom;
const tenant = base64url(random.bytes(16));
const secretWords = "the patient's words";

async function keyring(pseudonymKey: "make" | "await"): Promise<Keyring> {
  const cost = { memoryKib: 8, passes: 1, lanes: 1 };
  const passphrase = "for tests";
  return createKeyring({
    crypto,
    random,
    files: { store: createMemoryRecordFile(), registered: createMemoryRecordFile() },
    provider: createSoftwareProvider({ crypto, random, passphrase, parameters: undefined, cost }),
    tenant,
    pseudonymKey,
  });
}

function sealed(device: Keyring, scope: string): SealedEvent {
  const { events } = sealGroup(
    { crypto, random, keyFor: (of, section) => device.dataKeyToSeal(of, section) },
    { tenant, device: "D".repeat(22), incarnation: "0".repeat(16), tier: "software", app: "test" },
    { leaf: noPrevious, range: emptyRange },
    [
      {
        id: "0190a5b0-0000-7000-8000-000000000000",
        type: "NoteTaken",
        typeVersion: 1,
        scope,
        stream: base64url(random.bytes(16)),
        streamSequence: 1,
        vector: {},
        op: "create",
        ref: undefined,
        at: 0,
        actor: base64url(random.bytes(16)),
        role: undefined,
        session: undefined,
        why: undefined,
        sections: [
          { name: "data", plaintext: utf8(secretWords) },
          { name: "identity", plaintext: utf8(secretWords) },
        ],
      },
    ],
  );
  return events[0] as SealedEvent;
}

/** As exchange does: from the device's keyring to the node's, through a grant. */
async function grant(from: Keyring, to: Keyring, scope: string): Promise<void> {
  for (const { id, generation, scope: of } of from.dataKeys()) {
    const material = from.dataKeyMaterial(id, generation);
    if (of !== scope || material === undefined) continue;
    const { publicKey, privateKey } = to.hpke();
    const text = await wrapGrant({ kind: "data", ...material }, tenant, publicKey, systemRandom);
    const granted = await unwrapGrant(text, tenant, { publicKey, privateKey: privateKey() });
    if (granted.kind === "data") to.addDataKey(granted);
  }
}

describe("what a server reads", () => {
  it("is nothing without grants, and only the granted scopes with them", async () => {
    using device = await keyring("make");
    using node = await keyring("await");
    const [ada, bob] = [device.scopeOf("ada", ""), device.scopeOf("bob", "")];
    const events = [sealed(device, ada), sealed(device, bob)];
    device.flush();
    const reader = createServerReader({ crypto, keyring: node });
    const read = () =>
      events.map(({ headerText, frames }) =>
        [...reader.sections({ header: headerText, frames }).values()].map((section) =>
          section.state === "opened" ? Buffer.from(section.plaintext).toString() : section.state,
        ),
      );
    const none = ["closed", "closed"];
    expect(read()).toEqual([none, none]);
    expect(reader.knowsPseudonyms).toBe(false);
    // Nothing that the server holds shows a byte of it.
    for (const { headerText, frames } of events) {
      const held = [
        headerText,
        ...frames.map(({ bytes }) => Buffer.from(bytes ?? []).toString("latin1")),
      ];
      for (const text of held) expect(text).not.toContain(secretWords);
    }
    await grant(device, node, ada);
    expect(read()).toEqual([[secretWords, secretWords], none]);
  });

  it("is told when a frame is not what the header commits to", async () => {
    using device = await keyring("make");
    const scope = device.scopeOf("ada", "");
    const [one, other] = [sealed(device, scope), sealed(device, scope)];
    const reader = createServerReader({ crypto, keyring: device });
    const [first] = one.frames;
    if (first?.bytes === undefined) throw new Error("sealed events have frames");
    const flipped = Uint8Array.from(first.bytes);
    flipped[flipped.length - 1] = (flipped.at(-1) as number) ^ 1;
    for (const frame of [
      { ...first, bytes: flipped },
      { ...first, bytes: first.bytes.subarray(0, 10) },
      { ...first, bytes: other.frames[0]?.bytes },
      { ...first, key: "another" },
    ]) {
      const sections = reader.sections({ header: one.headerText, frames: [frame] });
      expect([...sections.values()]).toEqual([{ state: "altered" }]);
    }
    const owed = { ...first, state: "owed" as const, bytes: undefined };
    const sections = reader.sections({ header: one.headerText, frames: [owed] });
    expect([...sections.values()]).toEqual([{ state: "owed" }]);
  });
});

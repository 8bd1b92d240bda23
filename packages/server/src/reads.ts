/**
 * What a server may read: the sections whose keys were granted to its node, like any other installation, and
 * nothing else. On `reads: none` the node is granted nothing, and every section stays closed.
 *
 * There is no other way to content on a server: whatever shows payloads opens them here, with the keyring of
 * the node's own store in that tenant.
 */
import {
  type Crypto,
  type Frame,
  frameGeneration,
  fromBase64url,
  type Header,
  type Keyring,
  leafHash,
  openFrame,
  utf8,
} from "@holdfast/core";

/** What became of one section. */
export type SectionRead =
  | { readonly state: "opened"; readonly plaintext: Uint8Array }
  /** Its key was not granted to the node. */
  | { readonly state: "closed" }
  /** The key is here, and the frame is not what the header commits to. */
  | { readonly state: "altered" }
  | { readonly state: "owed" | "shredded" | "evicted" };

/** An event as the server holds it: the header's exact text, and its frames. */
export interface ServedEvent {
  readonly header: string;
  readonly frames: readonly Frame[];
}

/** Opens sections with what the node was granted. */
export interface ServerReader {
  /** Each section of the event by its name. */
  sections(event: ServedEvent): ReadonlyMap<string, SectionRead>;
  /** May the node compute pseudonyms of this tenant? */
  readonly knowsPseudonyms: boolean;
}

/** Reads of one tenant, with the keyring of the node's store there. */
export function createServerReader(deps: {
  readonly crypto: Crypto;
  readonly keyring: Pick<Keyring, "dataKey" | "hasPseudonymKey">;
}): ServerReader {
  const { crypto, keyring } = deps;

  function read(header: Header, leaf: Uint8Array, frame: Frame): SectionRead {
    const { section, key: id, state, bytes } = frame;
    if (state !== "present") return { state };
    const ref = header.sec[section];
    const commitment = fromBase64url(ref?.c ?? "");
    const generation = bytes && frameGeneration(bytes);
    if (bytes === undefined || generation === undefined) return { state: "altered" };
    if (commitment === undefined || ref?.k !== id) return { state: "altered" };
    const key = keyring.dataKey(id, generation);
    if (key === undefined) return { state: "closed" };
    const opened = openFrame(crypto, key, section, leaf, bytes, commitment);
    return opened === undefined
      ? { state: "altered" }
      : { state: "opened", plaintext: opened.plaintext };
  }

  return {
    get knowsPseudonyms() {
      return keyring.hasPseudonymKey;
    },
    sections(event) {
      const header = JSON.parse(event.header) as Header;
      const leaf = leafHash(crypto, utf8(event.header));
      return new Map(event.frames.map((frame) => [frame.section, read(header, leaf, frame)]));
    },
  };
}

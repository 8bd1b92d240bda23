/** The server's statements about device logs, as they are appended to the server log. */
import {
  base64,
  type Bytes,
  type Crypto,
  deviceLogOrigin,
  type DeviceStatement,
  formatStatement,
  type IndexRanges,
  owedOf,
} from "@holdfast/core";

/** What is stated about a device log. */
export interface Stated {
  readonly kind: DeviceStatement["kind"];
  readonly tenant: string;
  readonly device: string;
  readonly incarnation: string;
  readonly size: number;
  readonly root: Bytes;
  /** Digest of the commit note. */
  readonly note: string;
  readonly owed: IndexRanges;
  readonly received: number;
  readonly node: string;
}

/** Text of the leaf. */
export function statementText(crypto: Crypto, stated: Stated): string {
  const { kind, tenant, device, incarnation, size, note, received, node } = stated;
  return formatStatement({
    v: 1,
    kind,
    origin: deviceLogOrigin({ tenant, device, incarnation }),
    size,
    root: base64(stated.root),
    note,
    owed: owedOf(crypto, stated.owed),
    received,
    node,
  });
}

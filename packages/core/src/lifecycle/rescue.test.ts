import { expect, it } from "vitest";
import { utf8 } from "../std/bytes.ts";
import { nobleCrypto } from "../std/noble.ts";
import type { SqlValue } from "../store/sqlite-driver.ts";
import { entryName, formatRow } from "./backup-rows.ts";
import { createRescueVerifier } from "./rescue.ts";

const crypto = nobleCrypto({ bytes: (length) => new Uint8Array(length) });

// Entries are read before the digest that is signed: whoever may encrypt to the reader writes what they like.
it.each(["", "no JSON", "null", "[]", "{}", '{"sec":null}', '{"sec":{"subject":null}}'])(
  "a bundle with the header %j is refused with a code",
  (header) => {
    const driver = undefined as never;
    const shreds = undefined as never;
    const keyring = { storeId: "", tenant: "", signingKeys: () => [], shreds };
    const verifier = createRescueVerifier({ crypto, driver, keyring });
    const take = (table: string, ...row: readonly SqlValue[]): void => {
      verifier.entry({ name: entryName(table, 1), content: formatRow(row) });
    };
    take("logs", "device", "incarnation", 1, "note");
    take("leaves", "device", "incarnation", 0, crypto.sha256(utf8(`\u0000${header}`)));
    expect(() => take("rescued", "device", "incarnation", 0, header)).toThrow("backup_altered");
  },
);

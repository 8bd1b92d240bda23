/** Error codes of migrations. A part of `errors.ts`. */
export const migrationCodes = {
  migration_failed: {
    meaning:
      "A migration did not pass; the details name phase and reason. Everything is as it was before it.",
    action:
      "Where the reason is the medium, mend it and open the store again; where it is the log, run verify with the release that wrote the store, then recover.",
  },
  migration_irreversible: {
    meaning:
      "The earlier format has no place for what was recorded since: rows of the table in the details would be lost.",
    action: "Stay with this release. Nothing was changed.",
  },
  migration_none: {
    meaning: "No migration of this store is known here, so there is nothing to roll back.",
    action: "See `holdfast migrate status`.",
  },
  migration_unfinished: {
    meaning: "A migration of this store was interrupted; it has to come to its end first.",
    action: "Run `holdfast migrate apply`, or open the store for writing: it goes on by itself.",
  },
  release_mixed: {
    meaning:
      "Packages of different releases are installed beside each other: an update stopped halfway.",
    action: "Install the release again, all of it. Nothing was changed.",
  },
} as const;

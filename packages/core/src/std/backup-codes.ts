/** Error codes of backup, restore and what guards destructive calls. A part of `errors.ts`. */
export const backupCodes = {
  backup_foreign: {
    meaning: "The file is no backup: it does not begin as one, or not with a manifest.",
    action: "Name a file that `holdfast backup` wrote.",
  },
  backup_truncated: {
    meaning:
      "The backup is not as long as it was written: its end is missing, or something follows.",
    action: "Fetch the whole file again, or restore from another one. Nothing was changed.",
  },
  backup_altered: {
    meaning: "The backup is not as it was written: bytes in it were changed.",
    action: "Restore from another copy of it. Nothing was changed.",
  },
  backup_key_wrong: {
    meaning:
      "None of the keys that were named opens the backup; the part of it that names its keys may be damaged.",
    action: "Name the identity of one of its recipients, or its passphrase. Nothing was changed.",
  },
  backup_newer: {
    meaning: "The backup was written in a newer format than this release reads.",
    action: "Restore with the release that wrote it, or a newer one. Nothing was changed.",
  },
  backup_kind_wrong: {
    meaning: "The file is a backup of another kind than is needed here; the details name both.",
    action: "A store is restored from a backup of a store; a rescue bundle goes with --rescue.",
  },
  backup_unsigned: {
    meaning: "The device whose store is in the backup did not sign it, by the keys of the keyring.",
    action: "Refuse it: somebody else wrote this file. Nothing was changed.",
  },
  backup_unsound: {
    meaning:
      "The backup is as it was written, and what is in it does not verify; the details name the first problem.",
    action:
      "The store was damaged before the backup was made: restore from an older one. Nothing was changed.",
  },
  backup_other_store: {
    meaning: "The backup is of another store than the one that it would replace.",
    action: "Restore into an empty folder.",
  },
  backup_recipient_invalid: {
    meaning: "A recipient, an identity or a passphrase for a backup has not the form of one.",
    action:
      "Recipients begin with age1 and identities with AGE-SECRET-KEY-1; age-keygen makes both. Name recipients or a passphrase, not both.",
  },
  backup_policy_invalid: {
    meaning: "A figure of the backup schedule has no usable value.",
    action: "Correct the option named in the details.",
  },
  interlock_unproven: {
    meaning:
      "The act would destroy events that no server holds: there is neither a drain proof nor a rescue bundle of them.",
    action:
      "Let the device synchronise until nothing is owed, or write a rescue bundle with `holdfast rescue` and name it. Nothing was changed.",
  },
  interlock_stale: {
    meaning:
      "The drain proof or rescue bundle speaks of another state of the store than its present one.",
    action: "Make a new one now. Nothing was changed.",
  },
} as const;

/** Error codes of keys: providers, keyring, grants. A part of `errors.ts`. */
export const keyCodes = {
  key_wrong: {
    meaning: "The passphrase or key is not the one that this keyring was made with.",
    action: "Try the right one. Nothing was changed, and nothing is damaged.",
  },
  key_unwrap_failed: {
    meaning: "A wrapped key is this provider's, but its bytes or its context were changed.",
    action: "Restore the keyring from its registered copy or a keyring backup.",
  },
  key_parameters_refused: {
    meaning: "Stored parameters of a key provider are outside the limits of this software.",
    action:
      "Restore the keyring from its registered copy; a hostile file may ask for any memory or time.",
  },
  key_provider_unavailable: {
    meaning: "No key provider named in the keyring can be used by this process.",
    action: "Attach the token or give the passphrase; see the keyring's provider records.",
  },
  key_provider_timeout: {
    meaning: "A key provider did not answer within its deadline.",
    action:
      "Look at the device; it is tried again by itself. The deadline is a setting, 40 ms by default.",
  },
  key_provider_failed: {
    meaning: "A key provider cannot do its part: token gone, device error, or its process ended.",
    action: "Look at the device, and at the fault in the details; it is tried again by itself.",
  },
  key_answer_wrong: {
    meaning: "A key provider answered, and its answer does not verify.",
    action: "Take the device out of service: nothing of the answer was used.",
  },
  key_pin_refused: {
    meaning: "The token refused its PIN. It is not tried again in this process.",
    action: "Correct the PIN and start again: a token locks itself after a few wrong ones.",
  },
  key_fallback_refused: {
    meaning: "The preferred key provider does not work, and the policy allows no fallback.",
    action: "Attach the device. Nothing was changed; the setting is key_fallback.",
  },
  key_assurance_low: {
    meaning:
      "No key provider of the keyring, or not the new one, is of a kind and an assurance that the policy lets be used.",
    action: "Add a stronger provider, or change the policy: key_minimum, the allowed kinds.",
  },
  key_module_missing: {
    meaning: "Software that a key provider needs is not installed.",
    action: "Install what the details name, or choose another provider.",
  },
  key_keychain_volatile: {
    meaning: "The system's keychain would keep the key in memory only.",
    action: "Start a Secret Service (gnome-keyring, KWallet), or choose another provider.",
  },
  profile_refused: {
    meaning: "The production profile does not allow a setting or a state that was found.",
    action: "Correct what the details name; nothing was opened.",
  },
  keyring_missing: {
    meaning: "Neither the store's folder nor the registered place holds a keyring.",
    action: "Restore the keyring, then open again. Without it the store cannot be opened.",
  },
  keyring_exists: {
    meaning: "A keyring is there already; a new one would make the old store unreadable.",
    action: "Open the store that is there, or choose an empty folder.",
  },
  keyring_salt_missing: {
    meaning:
      "The keyring has no record of its key provider, or the record lacks the salt or the key check.",
    action:
      "Restore the keyring from its registered copy: the passphrase alone cannot open the store.",
  },
  keyring_corrupt: {
    meaning: "Records that every keyring needs are damaged in all copies.",
    action: "Restore the keyring from a keyring backup; keep the damaged files for examination.",
  },
  keyring_foreign: {
    meaning: "The keyring belongs to another store or tenant.",
    action: "Put the right keyring in place; the registered copies are named by store id.",
  },
  keyring_newer: {
    meaning: "The keyring was written in a newer format.",
    action: "Use a release that knows this format. Nothing was changed.",
  },
  keyring_record_missing: {
    meaning: "The keyring has no record of a key that is needed.",
    action: "Restore a newer copy of the keyring, or wait for the grant that brings the key.",
  },
  keyring_too_large: {
    meaning: "A keyring file is larger than the limit keyringBytesMax.",
    action: "Check that the file is a keyring.",
  },
  keyring_unsafe_file: {
    meaning: "The path of a keyring is a symbolic link or not a regular file.",
    action: "Put the keyring itself there; links are refused because they can be redirected.",
  },
  grant_malformed: {
    meaning: "A grant does not have the form of a grant, or names another algorithm.",
    action: "Ask the holder to grant again; note who delivered it.",
  },
  grant_foreign: {
    meaning: "A grant is wrapped for another installation.",
    action: "Deliver it to the installation whose HPKE key it names.",
  },
  grant_open_failed: {
    meaning: "A grant names this installation, and its key cannot be recovered: it was changed.",
    action: "Ask the holder to grant again; note who delivered it.",
  },
  rotation_under_way: {
    meaning: "A rotation of keys was begun and is not over.",
    action:
      "Let it end: it goes on by itself whenever the store is open for writing; doctor says how far it is.",
  },
  rotation_provider_missing: {
    meaning:
      "A key provider or recovery key that opens the keyring cannot be used now, and would not open it afterwards.",
    action: "Attach the provider, or remove it from the keyring first. Nothing was changed.",
  },
  rotation_unfinished: {
    meaning: "The command ended before the rotation did.",
    action: "None: it goes on by itself the next time the store is opened for writing.",
  },
  key_generation_needed: {
    meaning:
      "A former generation of a data key is still needed: a retained backup or the server holds frames of it.",
    action: "Keep it: it opens only, and seals nothing.",
  },
  recovery_key_malformed: {
    meaning: "The text is neither an age identity nor 24 words of a recovery key.",
    action: "Type it again; a word that is wrong or out of place is found by the checksum.",
  },
  recovery_key_unknown: {
    meaning: "The keyring is not wrapped to that recovery key.",
    action: "Try another recovery key; keys recovery lists those that the keyring has.",
  },
  recovery_key_exists: {
    meaning: "The keyring is wrapped to that recovery key already.",
    action: "None.",
  },
  recovery_unavailable: {
    meaning: "This process cannot wrap to recovery keys.",
    action: "Open the store with the recovery port of @holdfast/core/recovery.",
  },
} as const;

/** Error codes of erasing and compacting a store. A part of `errors.ts`. */
export const eraseCodes = {
  erase_unfinished: {
    meaning: "An erase of this store was begun and did not come to its end.",
    action: "Let it finish: `holdfast erase --resume`. Nobody opens the store before.",
  },
  erase_incomplete: {
    meaning:
      "Something of the store is still there after the erase, or a process holds its files open; the details name the first of it.",
    action:
      "Do away with what the details name (permissions, files that Holdfast did not make, the process), then `holdfast erase --resume`.",
  },
  erase_plan_unreadable: {
    meaning: "The plan of an unfinished erase in the state folder is damaged: nothing was removed.",
    action:
      "Look whether the store's folder and its entry in the state folder are still wanted; then remove the plan, and erase anew or by hand.",
  },
  erase_last_keys: {
    meaning:
      "This device alone holds data keys of events that it has delivered: after the erase nobody would open them, though a server holds them.",
    action:
      "Let another installation be granted access and synchronise, or keep a copy of the keyring (`backup --keyring`, then `--keep-keyring-copies`). Who wants the content gone says `--last-keys`. Nothing was changed.",
  },
  erase_place_refused: {
    meaning:
      "The audit export or the certificate would lie where the erase removes everything, or both in one file.",
    action: "Name files outside the store's folder and the state folder. Nothing was changed.",
  },
  compact_no_room: {
    meaning:
      "There is not enough memory, or room on the medium, to write the store's file anew; the details name which.",
    action:
      "Free some, or compact without --rewrite. Nothing of the store was changed by it. A shred that waits for it has destroyed its keys, and tries again every minute and at every start.",
  },
  compact_unfinished: {
    meaning: "The store was closed while it was being compacted.",
    action: "None: the next `holdfast compact` goes on. What was taken away is not missed.",
  },
} as const;

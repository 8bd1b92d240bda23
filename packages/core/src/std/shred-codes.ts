/** Error codes of holds and shreds. A part of `errors.ts`. */
export const shredCodes = {
  scope_shredded: {
    meaning: "The scope, or that section class of it, was shredded: nothing is sealed there again.",
    action:
      "Record under the subject's words: a subject who returns gets a new scope, and its records new streams.",
  },
  shred_held: {
    meaning: "A hold stands against what is to be shredded.",
    action: "Ask who placed the hold; `holdfast hold ls` names it, `holdfast hold lift` ends it.",
  },
  shred_retained: {
    meaning: "The newest event of what is to be shredded is younger than its retention allows.",
    action: "Wait until the date in the details, or have the retention rule changed.",
  },
  shred_unknown: {
    meaning: "No shred, or no hold, with that id was asked for by an admin device.",
    action:
      "Look at `holdfast shred status` and `holdfast hold ls`; sync first where it was asked for elsewhere.",
  },
  shred_repeated: {
    meaning: "That actor has approved the shred already; two different actors have to.",
    action: "Have somebody else approve it.",
  },
  shred_open: {
    meaning: "The shred is not in force yet, so that nothing can be certified.",
    action:
      "Have it approved by two actors, and holds lifted; `holdfast shred status` says what is missing.",
  },
} as const;

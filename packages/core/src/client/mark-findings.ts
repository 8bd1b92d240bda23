/** What each finding about the mark means to an operator. */
export const markFindings: Readonly<Record<string, string>> = {
  mark_missing: "The high-water mark is not there; the next write opens a new incarnation.",
  mark_damaged: "A slot of the high-water mark is damaged; the other one serves.",
  store_moved:
    "The store lies in another folder than before; the next write opens a new incarnation.",
  store_cloned:
    "This is a copy, and the original has gone on; the next write opens a new incarnation.",
  store_rolled_back:
    "The store holds less than its high-water mark attests: put the newest copy back.",
  store_rewritten: "The store's history is not the one that was signed: run verify.",
};

/** What the sync engine says of itself. Part of `errorCodes`, kept apart so that the table stays readable. */

/** Codes of the sync engine. */
export const syncCodes = {
  sync_not_enrolled: {
    meaning: "The store is not enrolled at a server.",
    action: "Enrol it with a code that an admin device has made.",
  },
  sync_closed: {
    meaning: "The sync engine was closed.",
    action: "Open sync again.",
  },
  sync_not_halted: {
    meaning: "Sync is not halted: there is nothing to resume.",
    action: "See status; another process may have resumed it.",
  },
  sync_reason_missing: {
    meaning: "Sync is resumed only by somebody, for a reason; one of the two is missing.",
    action: "Name actor and reason.",
  },
  sync_no_progress: {
    meaning: "The server says that there is more, and an exchange moved nothing.",
    action: "Nothing while it passes; otherwise tell the operator of the server.",
  },
  server_key_changed: {
    meaning:
      "The server presents another checkpoint key than the one that was pinned at enrolment.",
    action:
      "Check the address. Nothing was sent. A server that was replaced needs a new enrolment.",
  },
  push_stale: {
    meaning: "The server knows less or more of this log than was believed.",
    action: "None: the push is planned anew from what the server said.",
  },
  push_reopened: {
    meaning: "The server holds another history of this log; a new incarnation goes on.",
    action: "See the dead letters: the branch is held there. Look for a clone or a restored copy.",
  },
  push_not_taken: {
    meaning:
      "The server refused an exchange as a whole; its events are not known to be the reason.",
    action:
      "None: they are sent again, fewer at once. If it lasts, the details are in the attempts.",
  },
  breaker_open: {
    meaning: "The endpoint failed again and again; attempts are spared until a probe gets through.",
    action: "None: a probe follows. Check the server if it lasts.",
  },
} as const;

/** Error codes of the outbox. A part of `errors.ts`. */
export const outboxCodes = {
  outbox_lease_lost: {
    meaning:
      "The lease of these outbox entries expired and was taken over, or was released by force.",
    action:
      "None: the entries are with another worker, or wait. What was sent meanwhile is recognised.",
  },
  outbox_reason_missing: {
    meaning:
      "A lease is released by force only by somebody, for a reason; one of the two is missing.",
    action: "Name actor and reason.",
  },
  outbox_full: {
    meaning: "As many events wait for delivery as the outbox was configured to hold.",
    action:
      "Let the device synchronise, or raise entriesMax. Nothing was recorded; urgent events still are.",
  },
  outbox_entry_missing: {
    meaning: "There is no dead letter with that id.",
    action: "List the dead letters; it may have been delivered, redriven or purged.",
  },
  outbox_query_invalid: {
    meaning: "A filter or an argument has the wrong form; the details name it.",
    action: "Correct the part named in the details.",
  },
  outbox_option_invalid: {
    meaning: "An option of the outbox or of the breaker has no usable value.",
    action: "Correct the option named in the details.",
  },
} as const;

/** Error codes of the store side of sync; part of the one table in errors.ts. */
export const replicaCodes = {
  server_checkpoint_forged: {
    meaning: "A checkpoint is not signed by the server key that was pinned at enrolment.",
    action:
      "Sync has stopped. Ask the operator of the server; enrol anew only if they confirm a new key.",
  },
  server_checkpoint_forked: {
    meaning:
      "Two checkpoints of the server log cannot be joined: the log was rewritten or shows two faces.",
    action: "Sync has stopped and both are kept as evidence. Compare them with another device's.",
  },
  server_epoch_wrong: {
    meaning:
      "The server shows another log without proving that it goes on for the one that this device holds.",
    action:
      "Sync has stopped and what was shown is kept as evidence. Ask the operator of the server what was moved.",
  },
  server_log_moved: {
    meaning: "The server log goes on in another one, which this device has followed.",
    action: "None: what was under way is asked again.",
  },
  server_receipt_wrong: {
    meaning: "A receipt does not state what this device has pushed, or its proof does not hold.",
    action: "Sync has stopped and the receipt is kept as evidence. Ask the operator of the server.",
  },
  server_answer_wrong: {
    meaning: "The server's answer contradicts the request that it answers.",
    action: "Sync has stopped and the answer is kept as evidence. Ask the operator of the server.",
  },
  server_page_wrong: {
    meaning: "A page of pulled events does not prove what it brings; nothing of it was stored.",
    action: "Sync has stopped and what failed is kept as evidence, with the part that failed.",
  },
  server_log_rewound: {
    meaning: "The server shows a device log that does not continue what this device holds of it.",
    action: "Sync has stopped and both notes are kept as evidence. Compare with another device's.",
  },
  server_enrolment_wrong: {
    meaning:
      "The server's answer to the enrolment does not prove it, or its key is not the one in the code.",
    action:
      "Nothing was kept. Ask whoever made the code for a new one; check the server's address.",
  },
  server_unknown: {
    meaning: "This store is not enrolled at a server.",
    action: "Enrol it with a code of an admin device.",
  },
  log_forked: {
    meaning:
      "The device log of this event was forked: another copy of the device had gone on before.",
    action:
      "The event is held here and not delivered. Record what it says again, on the new incarnation.",
  },
  header_newer: {
    meaning: "A pulled event has a header of a version that this release cannot read whole.",
    action: "Update the application on this device; nothing of the page was stored.",
  },
  delivery_abandoned: {
    meaning: "The caller stopped waiting for the delivery of recorded events.",
    action: "None: the events are recorded and will be delivered.",
  },
  receipt_missing: {
    meaning: "No receipt of the server covers the event yet.",
    action: "Let the device synchronise.",
  },
} as const;

/** Error codes of the server engine: what it refuses of callers, pushes and grants. A part of `errors.ts`. */
export const serverCodes = {
  server_leaf_malformed: {
    meaning: "A leaf of a server log does not have the form of one.",
    action: "Keep it as evidence and ask the operator of the server; details name the part.",
  },
  caller_unknown: {
    meaning: "The caller is no enrolled device of the tenant that it names.",
    action: "Enrol the device with a code of the tenant.",
  },
  device_revoked: {
    meaning: "The device was revoked: it hands over what it recorded and reads nothing more.",
    action:
      "Ask an admin of the tenant; what the device recorded is kept by the server apart from the shared view.",
  },
  role_insufficient: {
    meaning: "The device's role does not allow what it asks for.",
    action: "Let a device with that role do it; roles are given by the code at enrolment.",
  },
  device_enrolled: {
    meaning: "The device is enrolled in this tenant already.",
    action: "Nothing to do; keep the code for another device.",
  },
  device_unknown: {
    meaning: "There is no such device in the tenant.",
    action: "List the devices again.",
  },
  enrol_code_refused: {
    meaning:
      "The enrolment code is not one that may be used: unknown, used before, expired, or of another tenant.",
    action: "Ask for a new code; each is used once and expires.",
  },
  opening_wrong: {
    meaning:
      "The first event of a device log does not authorise its key; the details name the part.",
    action:
      "Run verify on the device: its log was altered or written by other software. Nothing was taken.",
  },
  push_foreign: {
    meaning: "The push is about the log of another device.",
    action: "Push each device's log with its own access token.",
  },
  push_malformed: {
    meaning: "The push contradicts itself; the details name the part.",
    action: "Update the device's software. Nothing was taken.",
  },
  push_note_malformed: {
    meaning: "The commit note is not one of this device log at the size of the push.",
    action: "Run verify on the device. Nothing was taken.",
  },
  push_signature_wrong: {
    meaning: "The commit note is not signed by the key that opened the device log.",
    action: "Run verify on the device; treat the request as forged. Nothing was taken.",
  },
  push_root_wrong: {
    meaning: "The commit note's root is not that of the leaves that were pushed.",
    action: "Run verify on the device: its log was altered. Nothing was taken.",
  },
  push_too_large: {
    meaning: "The push holds more events, leaves or bytes than one exchange takes.",
    action: "Push less at once; the details name the limit.",
  },
  event_foreign: {
    meaning: "The event belongs to another tenant or device log.",
    action: "Run verify on the device; the server keeps the leaf and refuses the body.",
  },
  event_link_wrong: {
    meaning: "The event's sequence or link does not continue its device log.",
    action: "Run verify on the device; the server keeps the leaf and refuses the body.",
  },
  event_leaf_wrong: {
    meaning: "A body does not hash to the leaf that was pushed for it.",
    action: "Run verify on the device; push the body that was sealed.",
  },
  event_frames_wrong: {
    meaning: "The frames of an event are not those that its header names.",
    action: "Run verify on the device; the server keeps the leaf and refuses the body.",
  },
  incarnation_contended: {
    meaning:
      "Two incarnations of a device name the same predecessor: a copy of the device is in use.",
    action: "Find out which of the two is the device, and revoke it when that cannot be told.",
  },
  device_log_forked: {
    meaning: "A device log was continued in two ways; the later one lies in quarantine.",
    action: "None where the device goes on in a new incarnation; otherwise revoke it.",
  },
  request_malformed: {
    meaning: "The request has a part that no request may have; the details name it.",
    action: "Update the software that sent it.",
  },
  scope_denied: {
    meaning: "There is no such scope that this device may read.",
    action: "Ask an admin to grant access to the scope.",
  },
  server_behind: {
    meaning:
      "The device holds more of a log than this server has: it was restored from an older copy.",
    action: "Stop, and ask the operator of the server; devices push again what it lost.",
  },
  server_put_back: {
    meaning:
      "The server's database is an older copy: a device has shown what the server had signed and does not know any more.",
    action:
      "Stop the server, run `holdfast server restore`, and start it; until then it signs nothing more for the tenant, and devices keep what they have.",
  },
  receipt_beyond: {
    meaning:
      "A device has presented a receipt of this server that its log does not hold: what it states was lost with a part of the database.",
    action:
      "None where the device that recorded the events pushes again; `holdfast server lost` says which have not yet.",
  },
  server_restore_unfinished: {
    meaning: "A backup is being put in place of the server's database, or that was interrupted.",
    action:
      "Run `holdfast server restore --from` with the same backup again; it finishes or begins anew.",
  },
  server_backup_wrong: {
    meaning: "The file is not the backup that its manifest speaks of, or it is not of this server.",
    action: "Take another copy of the backup, and the keys of the server that it was made of.",
  },
  server_log_unproven: {
    meaning: "The stored leaves of a server log do not make the tree of its newest checkpoint.",
    action: "Do not go on with this database: restore another backup of it.",
  },
  server_log_sealed: {
    meaning: "The tenant has moved to another shard: nothing is written to this one any more.",
    action: "None: what was under way is judged again in the new shard.",
  },
  server_running: {
    meaning: "A server holds this data folder: what writes to it must wait until the server stops.",
    action: "Stop the server, do it again, and start the server; its devices go on by themselves.",
  },
  tenant_unknown: {
    meaning: "There is no such tenant on this server.",
    action: "List the shards; each names its tenant.",
  },
  shard_taken: {
    meaning: "There is a shard of that name, or it is none that a log origin can hold.",
    action: "Leave the name out, or choose one of letters, digits, - and _.",
  },
  grant_recipient_unknown: {
    meaning: "A grant is for no installation of this tenant that may receive it.",
    action: "Grant to the key found in the device's verified opening.",
  },
} as const;

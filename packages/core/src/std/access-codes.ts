/** Error codes of joining a tenant: enrolment, access, the way keys come. A part of `errors.ts`. */
export const accessCodes = {
  pseudonym_key_awaited: {
    meaning:
      "The tenant's pseudonym key has not arrived yet: words cannot become streams, scopes and actors.",
    action:
      "Sync, and have an admin device of the tenant sync; it grants the key to enrolled devices.",
  },
  enrol_code_malformed: {
    meaning: "The text is not an enrolment code.",
    action: "Copy the whole code, from hf1- to its end, or ask for a new one.",
  },
  enrol_code_expired: {
    meaning: "The enrolment code has expired, by the server's clock.",
    action: "Ask an admin of the tenant for a new code.",
  },
  enrol_server_mismatch: {
    meaning: "The server's key is not the one whose fingerprint the enrolment code carries.",
    action:
      "Do not enrol: this is another server, or somebody between. Compare the address with whoever made the code.",
  },
  enrol_tenant_mismatch: {
    meaning: "The store belongs to another tenant than the enrolment code or the server's answer.",
    action: "Enrol from an empty folder; a store with events keeps its tenant.",
  },
  enrol_founder_mismatch: {
    meaning: "The server names another founder of the tenant than the enrolment code does.",
    action: "Do not sync with this server; ask whoever made the code.",
  },
  access_denied: {
    meaning: "This device is no admin of its tenant.",
    action: "Do it on an admin device, or have an admin grant the role.",
  },

  grant_contradicts: {
    meaning: "A grant brings another key under the name of one that is here already.",
    action: "None: the key that is here stays. Ask who granted it; the log's key events say.",
  },
} as const;

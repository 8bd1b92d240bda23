/** Error codes of the wire: messages, transport, the HTTP server around them. A part of `errors.ts`. */
export const wireCodes = {
  message_malformed: {
    meaning: "A message of the sync protocol does not have its form.",
    action: "Correct the part named in the details; nothing of the message was taken.",
  },
  message_too_large: {
    meaning: "A message, or a part of one, exceeds its limit.",
    action: "Send less at once; the details name part and limit.",
  },
  transport_insecure: {
    meaning: "The address is not https and not this machine.",
    action: "Use an https address: tokens and headers must not travel in the clear.",
  },
  server_url_invalid: {
    meaning: "The address of the server is not of the form https://host[:port][/path].",
    action: "Correct the address; it holds no user name, query or fragment.",
  },
  network_unreachable: {
    meaning: "The server could not be reached, or the connection broke.",
    action: "Nothing: it is tried again. Whether the server acted on the request is not known.",
  },
  network_timeout: {
    meaning: "The server did not answer in time.",
    action: "Nothing: it is tried again, with less at once.",
  },
  sync_cancelled: {
    meaning: "The exchange was cancelled on this side.",
    action: "Start sync again; nothing is lost.",
  },
  redirect_refused: {
    meaning: "The server answered with a redirect; tokens are never carried elsewhere.",
    action: "Enrol with the address that the server really has.",
  },
  answer_malformed: {
    meaning: "What answered does not speak this protocol: a proxy, a login page, a broken server.",
    action: "Nothing while it passes; otherwise check the address and what stands between.",
  },
  answer_too_large: {
    meaning: "An answer exceeds the limit of its message.",
    action: "Ask the operator of the server; the details name the limit.",
  },
  request_refused: {
    meaning: "The server refused the request without a code that this version knows.",
    action: "Update this program; the details give the HTTP status.",
  },
  server_failed: {
    meaning: "The server failed on its side.",
    action: "Nothing: it is tried again. If it lasts, the request id names it in the server's log.",
  },
  server_busy: {
    meaning: "The server is starting, stopping or short of means.",
    action: "Nothing: it is tried again after the time that the server named.",
  },
  requests_too_many: {
    meaning: "This device or address sends more than its share.",
    action: "Nothing: it is tried again after the time that the server named.",
  },
  token_refused: {
    meaning: "The access token is missing, expired, forged, or its device is no longer enrolled.",
    action: "Ask for a new token once; if that is refused too, the device must be enrolled again.",
  },
  assertion_refused: {
    meaning: "The assertion that asks for a token does not prove an enrolled device.",
    action: "Check the device's clock against the server's and whether the device was revoked.",
  },
  not_found: {
    meaning: "There is no such thing for this caller.",
    action: "Check the address and the identifiers; what belongs to others looks the same.",
  },
  method_refused: {
    meaning: "The address does not take this method.",
    action: "See /openapi.json.",
  },
  content_type_refused: {
    meaning: "The content type is not the one of the message.",
    action: "Send the type that /openapi.json names for the message.",
  },
  encoding_refused: {
    meaning: "The body is compressed in a way that the server does not take.",
    action: "Send it plain, or under one of zstd and gzip.",
  },
  request_timeout: {
    meaning: "The request did not arrive in time.",
    action: "Nothing: it is tried again, with less at once.",
  },
  headers_too_many: {
    meaning: "The request has more headers than the server takes.",
    action: "Send fewer headers; the details name the limit.",
  },
  query_parameter_invalid: {
    meaning: "A parameter of the address is missing, unknown or not of its form.",
    action: "Correct the parameter named in the details.",
  },
  config_invalid: {
    meaning: "A setting of the server is unknown or not of its form.",
    action: "Correct the setting named in the details; holdfast serve --help lists them all.",
  },
  listener_refused: {
    meaning: "The server cannot listen on its address.",
    action: "Choose another port or address; the details give the system's reason.",
  },
  server_keys_foreign: {
    meaning: "The database belongs to a server with other keys or another name.",
    action:
      "Start every node of a server with the same key file (setting keys); the details name the part that differs. Nothing was changed.",
  },
  server_keys_missing: {
    meaning: "The server's keys are not beside its database, or not in the file that was named.",
    action: "Put the key file back from where it is kept; nothing was made or changed.",
  },
  server_keys_unsafe: {
    meaning: "A key file of the server can be read by others, or is no ordinary file.",
    action: "Set its mode to 0600 and find out who has read it.",
  },
  server_keys_invalid: {
    meaning: "A key file of the server is damaged.",
    action: "Put the key file back from where it is kept; the details name the part.",
  },
  listener_insecure: {
    meaning: "A listener without TLS would be open to other machines.",
    action:
      "Listen on a loopback address behind a proxy that ends TLS, or set allow_plaintext knowingly.",
  },
} as const;

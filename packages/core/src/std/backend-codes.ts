/** What delivery to a backend that is no Holdfast server says of itself. Part of `errorCodes`. */

/** Codes of the REST transport. */
export const backendCodes = {
  backend_invalid: {
    meaning: "The description of the backend contradicts itself; the details name the part.",
    action: "Correct the address, header, route or limit that is named. Nothing was sent.",
  },
  backend_store_enrolled: {
    meaning: "The store is enrolled at a Holdfast server, which gets its events.",
    action: "Deliver to another backend from a store of its own, or from the server's side.",
  },
  backend_route_missing: {
    meaning: "No route of the backend's table says where an event of this type goes.",
    action: "Add a route, or skip the type by name; then redrive.",
  },
  backend_event_unreadable: {
    meaning: "The content of the event cannot be opened, so that no request can be made of it.",
    action: "See the event with show; once its key is there, redrive.",
  },
  backend_body_invalid: {
    meaning: "The body that the route makes of the event is no JSON, or too large.",
    action: "Correct the route's body; then redrive.",
  },
  backend_refused: {
    meaning: "The backend will not take this request; the details give the HTTP status.",
    action: "Correct the route or the backend, then redrive; or archive to give it up.",
  },
  backend_conflict: {
    meaning: "The backend's state has moved on: it refuses the event because of another change.",
    action:
      "Compare both sides. Redrive to send the event again, archive to let the backend's stand.",
  },
  backend_refuses_all: {
    meaning:
      "The backend refused one event after the other; it is not known to be about the events.",
    action: "Check address, routes and rights at the backend. The events wait and are tried again.",
  },
  pins_invalid: {
    meaning: "The certificate pins are malformed, repeated, fewer than two, or not for TLS.",
    action: "Give sha256/<base64> of at least two keys: the current one and a backup.",
  },
  certificate_pin_mismatch: {
    meaning: "The server presents a valid certificate whose key is not one of the pinned keys.",
    action:
      "Nothing was sent. Find out whether the key was changed or somebody listens in; then set the pins and resume.",
  },
} as const;

/**
 * What a live tail over a WebSocket (RFC 6455) is made of, for both ends: spec/sync-protocol.md, "Live tail".
 * A message is a hint as JSON, or empty: the heartbeat, which platforms tell applications of; pings they do not.
 */

/** The subprotocol that a reader offers and the server takes. */
export const tailSubprotocol = "holdfast.tail.v1";

/** Before the access token, where a platform lets nobody set headers: offered, never taken. */
export const bearerSubprotocol = "bearer.";

/** Close codes of the server, by reason; 4000 to 4999 are for applications (RFC 6455 §7.4.2). */
export const tailCloseCodes = {
  /** The token has expired, or its device was revoked. */
  token: 4401,
  /** The reader did not read. */
  unread: 4408,
  /** The reader sent something; a tail takes nothing (policy violation). */
  spoke: 1008,
  /** The server stops (going away). */
  stopping: 1001,
} as const;

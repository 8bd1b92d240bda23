/** Which HTTP status the engine's codes have. A test compares them with what the engine throws. */
import type { ErrorCode } from "@holdfast/core";

/** Status by code of the engine. What belongs to others looks like what is not there. */
export const engineStatus: Readonly<Partial<Record<ErrorCode, number>>> = {
  caller_unknown: 401,
  device_revoked: 403,
  role_insufficient: 403,
  enrol_code_refused: 403,
  not_found: 404,
  push_foreign: 404,
  scope_denied: 404,
  device_unknown: 404,
  grant_recipient_unknown: 404,
  device_enrolled: 409,
  server_behind: 409,
  push_too_large: 413,
  opening_wrong: 422,
  push_malformed: 422,
  push_note_malformed: 422,
  push_root_wrong: 422,
  push_signature_wrong: 422,
  request_malformed: 422,
  server_put_back: 503,
};

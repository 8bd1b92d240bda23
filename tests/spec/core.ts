/** What these tests use of the core, the verifier's own entrance among it. */
export * from "@holdfast/core";
export { derFromP1363, p1363FromDer } from "../../packages/core/src/proof/ecdsa-der.ts";
export {
  type EventRow,
  type FrameRow,
  type LogSource,
  type LogVerdict,
  type NoteRow,
  verifyLog,
} from "../../packages/core/src/proof/verify.ts";

/** The sync desk over an open store: see `sync-desk.ts`. */
import { createBreakers } from "../outbox/breakers.ts";
import { HoldfastError } from "../std/errors.ts";
import { createAbort } from "../sync/abort.ts";
import { createAuthorizer } from "../sync/auth.ts";
import { enrol } from "../sync/enrol.ts";
import { parseEnrolmentCode } from "../sync/enrolment-code.ts";
import { invite, withdrawAccess } from "../sync/invitations.ts";
import { endpointOf } from "../sync/replica.ts";
import { resumeSync } from "../sync/resume.ts";
import { createSyncTables } from "../sync/sync-tables.ts";
import type { CallOptions, Transport } from "../sync/transport.ts";
import { grantStoreOf, lifeOf } from "./grant-store.ts";
import type { Holdfast } from "./holdfast.ts";
import type { StoreLife } from "./store-life.ts";
import type { SyncDesk, SyncStanding } from "./sync-desk.ts";

/** A desk over an open store. `transportTo`: how a server at an address is reached. */
export function createSyncDesk(store: Holdfast, transportTo: (url: string) => Transport): SyncDesk {
  const life = lifeOf(store);
  const grants = grantStoreOf(store);
  const { crypto, clock, observer } = life.deps;
  const never = createAbort().signal;

  /** One call with a token; asks for another once when it is refused. */
  async function call<T>(send: (at: Server, options: CallOptions) => Promise<T>): Promise<T> {
    const server = life.sync.server();
    if (server === undefined) throw new HoldfastError("sync_not_enrolled");
    const transport = transportTo(server.url);
    const parts = { ...life.deps, store: life.sync, transport };
    const auth = createAuthorizer({ ...parts, closed: never, greeted: () => undefined });
    const at = { transport, url: server.url };
    const token = await auth.token(never);
    try {
      return await send(at, { token });
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.code !== "token_refused") throw error;
      auth.refused(token);
      return send(at, { token: await auth.token(never) });
    }
  }

  return {
    async enrol(text) {
      const code = parseEnrolmentCode(text);
      return enrol({ crypto, store: life.sync, grants, transport: transportTo(code.url) }, code);
    },
    invite: (terms) =>
      call(async ({ transport, url }, options) => {
        const hello = await transport.hello(options);
        return invite(grants, transport, options, { url, hello }, terms);
      }),
    devices: () => call(({ transport }, options) => transport.devices(options)),
    async revoke(device, why) {
      await withdrawAccess(grants, device, why);
      await call(({ transport }, options) => transport.revoke({ device, why }, options));
    },
    access: () => grants.rows(),
    grants: () => grants.grants(),
    standing: () => standingOf(life),
    resume: (actor, reason) => resumeSync(life.sync, actor, reason),
    breakers: () => createBreakers({ driver: life.current().driver, clock, observer }).list(),
  };
}

function standingOf(life: StoreLife): SyncStanding {
  const { driver } = life.current();
  const { clock, observer } = life.deps;
  const tables = createSyncTables(driver);
  const breakers = createBreakers({ driver, clock, observer }).list();
  const server = life.sync.server();
  const watermarks = life.sync.watermarks();
  const halt = tables.halted();
  const endpoint = server === undefined ? undefined : endpointOf(server);
  const isOpen = breakers.some((each) => each.endpoint === endpoint && each.state !== "closed");
  const isDrained = watermarks.waiting === 0 && watermarks.owed.length === 0;
  const moving = isOpen ? "open" : isDrained ? "drained" : "partial";
  return {
    state: server === undefined ? "not-enrolled" : halt === undefined ? moving : "halted",
    server,
    watermarks,
    breakers,
    halt,
    resumes: tables.resumes(),
    evidence: tables.evidence(),
  };
}

interface Server {
  readonly transport: Transport;
  readonly url: string;
}

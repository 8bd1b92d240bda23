/**
 * What a server does with grants and enrolments, in memory and without a check: it forwards grants to the HPKE
 * key they are addressed to, and lists the devices that it is told of. Tests tamper with what it holds.
 */
import type { EnrolledDevice, Transport } from "@holdfast/core";

/** A grant as it lies at the server. */
export interface PostedGrant {
  readonly number: number;
  grant: string;
}

/** The grants of a tenant on their way. */
export interface GrantPost {
  readonly grants: PostedGrant[];
  readonly devices: EnrolledDevice[];
  /** Digests of registered codes. */
  readonly codes: string[];
  /** Set: the next call of a message fails with it, once. */
  failure: Error | undefined;
  /** As the installation with that HPKE key, base64url, sees it. */
  transport(
    hpke: string,
  ): Pick<Transport, "grants" | "sendGrants" | "devices" | "addCode" | "revoke">;
}

const pageMax = 100;

/** An empty post. */
export function createGrantPost(): GrantPost {
  const post: GrantPost = {
    grants: [],
    devices: [],
    codes: [],
    failure: undefined,
    transport: (hpke) => ({
      grants: async (after) => {
        fail();
        const own = post.grants.filter(
          ({ number, grant }) => number > after && grant.includes(`"to":"${hpke}"`),
        );
        return { grants: own.slice(0, pageMax).map(copy), more: own.length > pageMax };
      },
      sendGrants: async ({ grants }) => {
        fail();
        for (const grant of grants) post.grants.push({ number: post.grants.length + 1, grant });
      },
      devices: async () => {
        fail();
        return [...post.devices];
      },
      addCode: async ({ digest }) => {
        fail();
        post.codes.push(digest);
      },
      revoke: async ({ device }) => {
        fail();
        const at = post.devices.findIndex((listed) => listed.device === device);
        const listed = post.devices[at];
        if (listed !== undefined) post.devices[at] = { ...listed, status: "revoked" };
      },
    }),
  };
  function fail(): void {
    const { failure } = post;
    post.failure = undefined;
    if (failure !== undefined) throw failure;
  }
  return post;
}

function copy({ number, grant }: PostedGrant): PostedGrant {
  return { number, grant };
}

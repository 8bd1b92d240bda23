/** Stores that were copied, or put back to an older copy: told apart, and what both recorded is kept. */
import { cp, rm } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { full, sampledBackends } from "./servers.ts";
import { converge, inWorld } from "./world.ts";

const budget = { timeout: full ? 600_000 : 300_000 };

test.each(sampledBackends)(
  "a clone and its original both write: both sides' events arrive ($name)",
  budget,
  async ({ backend }) => {
    await inWorld({ backend }, async ({ folder, founder, device, server, join: joinTenant }) => {
      const reader = await joinTenant("reader");
      await founder.ask("append", { notes: [{ n: 1 }] });
      await founder.drain();
      await founder.end();
      const copy = join(folder, "copy");
      await cp(founder.folder, copy, { recursive: true });
      await founder.start();
      const clone = await device("clone", copy);
      const ids: string[] = [];
      for (const [at, one] of [founder, clone].entries()) {
        const { ids: own } = await one.ask<{ ids: string[] }>("append", {
          notes: [{ n: 10 + at }, { n: 20 + at }],
        });
        ids.push(...own);
      }
      await converge([founder, clone, founder, reader]);
      expect((await server.read()).copiesOf(ids)).toEqual({ once: 4, never: 0, more: 0 });
      expect(new Set(await reader.ask<string[]>("ids"))).toEqual(
        new Set([...ids, ...(await founder.ask<string[]>("ids"))]),
      );
      expect(await reader.ask("verify")).toMatchObject({ ok: true, problems: [] });
    });
  },
);

test.each(sampledBackends)(
  "a store put back to an older copy goes on as a new incarnation, nothing is lost ($name)",
  budget,
  async ({ backend }) => {
    await inWorld({ backend }, async ({ folder, founder, server, join: joinTenant }) => {
      const reader = await joinTenant("reader");
      const before = await founder.ask<{ ids: string[] }>("append", { notes: [{ n: 1 }] });
      await founder.drain();
      await founder.end();
      const copy = join(folder, "copy");
      await cp(founder.folder, copy, { recursive: true });
      await founder.start();
      const lost = await founder.ask<{ ids: string[] }>("append", { notes: [{ n: 2 }, { n: 3 }] });
      await founder.drain();
      await founder.end();
      await rm(founder.folder, { recursive: true });
      await cp(copy, founder.folder, { recursive: true });
      await founder.start();
      const after = await founder.ask<{ ids: string[] }>("append", { notes: [{ n: 4 }] });
      await converge([founder, reader, founder]);
      const ids = [...before.ids, ...lost.ids, ...after.ids];
      expect((await server.read()).copiesOf(ids)).toEqual({ once: 4, never: 0, more: 0 });
      expect(new Set(await reader.ask<string[]>("ids"))).toEqual(new Set(ids));
      for (const one of [reader, founder]) {
        expect(await one.ask("verify")).toMatchObject({ ok: true, problems: [] });
      }
    });
  },
);

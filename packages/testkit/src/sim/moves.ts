/**
 * The operator moves the tenant between shards while faults strike: the server may die in the act, which then has
 * happened whole or not at all.
 */
import { isHoldfastError } from "@holdfast/core";
import type { Chance } from "../chance.ts";
import { asError, type Backend, type Context } from "./inhabitants.ts";
import { thinkTime } from "./workload.ts";

/** Plans what the knobs ask for. */
export function planMoves(context: Context, backend: Backend, chance: Chance, until: number): void {
  const { scheduler, knobs } = context;
  if (knobs.moveEveryMs === 0) return;
  scheduler.after(thinkTime(chance, knobs.moveEveryMs), "the tenant is to move", () => {
    if (scheduler.now >= until) return;
    move(context, backend).catch((error: unknown) => {
      context.failures.push(asError(error));
    });
    planMoves(context, backend, chance, until);
  });
}

async function move({ scheduler }: Context, { server }: Backend): Promise<void> {
  const at = server.open;
  if (at === undefined) return;
  try {
    const current = (await at.server.shards()).find(({ sealed }) => !sealed);
    if (current === undefined) return;
    const { sealed } = await at.server.moveTenant({ tenant: current.tenant });
    if (at.process.alive) scheduler.note(`the tenant has moved at ${sealed.size} leaves`);
  } catch (error) {
    if (!isHoldfastError(error) && at.process.alive) throw error;
    if (isHoldfastError(error) && at.process.alive) scheduler.note(`no move: ${error.code}`);
  }
}

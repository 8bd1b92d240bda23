import { Command } from "commander";
import { counted, table } from "../output.ts";
import { withStore } from "../store.ts";
import { contextOf } from "./options.ts";

/** `holdfast status`: how much is recorded, what waits, what was found. */
export function statusCommand(): Command {
  return new Command("status")
    .description("how much is recorded, what waits to be delivered, what was found")
    .action(async (_, command: Command) => {
      const { options, output } = contextOf(command);
      await withStore(options, "read", async (store) => {
        const { events, head, outbox, findings, projections, ...ids } = store.status();
        await output.row({
          events,
          head,
          outbox: {
            waiting: outbox.waiting,
            leased: outbox.leased,
            dead: outbox.dead,
            oldest_ms: outbox.oldestMs ?? null,
          },
          findings,
          projections: projections.map(({ stoppedAt, ...rest }) => {
            return { ...rest, ...(stoppedAt === undefined ? {} : { stopped_at: stoppedAt }) };
          }),
          store_id: ids.storeId,
          tenant: ids.tenant,
          device: ids.device,
          incarnation: ids.incarnation,
        });
        const oldest =
          outbox.oldestMs === undefined ? "" : `, the oldest for ${outbox.oldestMs} ms`;
        const dead = outbox.dead === 0 ? "" : `; ${counted(outbox.dead, "dead letter")}`;
        await output.say(`events      ${events}`);
        await output.say(`head        ${head.sequence}  ${head.root}`);
        await output.say(`outbox      ${outbox.waiting} wait${oldest}${dead}`);
        await output.say(`store       ${ids.storeId}`);
        await output.say(`device      ${ids.device}/${ids.incarnation}`);
        await output.say(
          table(
            ["read model", "version", "state"],
            projections.map(({ name, version, state, stoppedAt }) => {
              return [name, version, stoppedAt === undefined ? state : `${state} at ${stoppedAt}`];
            }),
          ),
        );
        for (const { code, message } of findings) await output.say(`finding ${code}: ${message}`);
        if (findings.length === 0) await output.say("no findings");
      });
    });
}

import { type ErrorCode, errorCodes, isoTime, type SyncStanding } from "@holdfast/core";
import { Command } from "commander";
import { withDesk } from "../desk.ts";
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
        const standing = await withDesk(store, (desk) => Promise.resolve(desk.standing()));
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
          sync: syncWire(standing),
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
        for (const line of syncLines(standing)) await output.say(line);
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

const time = (at: number | undefined): string | null => (at === undefined ? null : isoTime(at));

function syncWire({ state, server, watermarks, breakers, halt, resumes, evidence }: SyncStanding) {
  return {
    state,
    server: server === undefined ? null : { url: server.url, log: server.log, role: server.role },
    acknowledged_through: watermarks.acknowledgedThrough,
    receipted_size: watermarks.receiptedSize,
    owed: watermarks.owed,
    waiting: watermarks.waiting,
    dead: watermarks.dead,
    oldest_unacknowledged_at: time(watermarks.oldestUnacknowledgedAt),
    last_receipt_at: time(watermarks.lastReceiptAt),
    pulled_through: watermarks.pulledThrough ?? null,
    breakers: breakers.map(({ endpoint, state: breaker, failures, trips, retryAt }) => {
      return { endpoint, state: breaker, failures, trips, retry_at: time(retryAt) };
    }),
    halt: halt === undefined ? null : { code: halt.code, at: isoTime(halt.at) },
    resumed: resumes.map(({ actor, reason, at, halted }) => {
      return { code: halted.code, halted_at: isoTime(halted.at), at: isoTime(at), actor, reason };
    }),
    evidence,
  };
}

function syncLines(standing: SyncStanding): readonly string[] {
  const { state, server, watermarks, breakers, halt, evidence } = standing;
  const { acknowledgedThrough, lastReceiptAt, pulledThrough } = watermarks;
  if (server === undefined) return ["sync        not enrolled"];
  const receipt = lastReceiptAt === undefined ? "no receipt yet" : isoTime(lastReceiptAt);
  const pulled = pulledThrough === undefined ? "nothing fetched yet" : `position ${pulledThrough}`;
  return [
    `sync        ${state}, with ${server.url}`,
    `delivered   through ${acknowledgedThrough}, last receipt: ${receipt}`,
    `fetched     through: ${pulled}`,
    ...breakers
      .filter((breaker) => breaker.state !== "closed")
      .map(({ endpoint, state: breaker, retryAt }) => {
        const until = retryAt === undefined ? "" : `, next try ${isoTime(retryAt)}`;
        return `breaker     ${breaker} for ${endpoint}${until}`;
      }),
    ...evidence.map((name) => `evidence    ${name}`),
    ...(halt === undefined ? [] : haltLines(halt.code, halt.at)),
  ];
}

function haltLines(code: string, at: number): readonly string[] {
  const known = Object.hasOwn(errorCodes, code) ? errorCodes[code as ErrorCode] : undefined;
  return [
    `halt        ${code} since ${isoTime(at)}: holdfast sync resume --actor WHO --reason WHY`,
    ...(known === undefined ? [] : [`            ${known.meaning} ${known.action}`]),
  ];
}

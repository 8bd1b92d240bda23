/**
 * The simulated network between devices and a server: requests and answers are bytes that take their time, are
 * lost, come twice, overtake each other, or are held up by a partition. Whether the server acted on a request
 * whose answer did not come, nobody on this side can tell.
 */
import {
  HoldfastError,
  type HttpAnswer,
  type HttpPort,
  type HttpRequest,
  type HttpStreamListener,
} from "@holdfast/core";
import type { Chance } from "../chance.ts";
import type { Knobs, OneIn } from "./knobs.ts";
import type { Scheduler } from "./scheduler.ts";
import type { SimProcess } from "./sim-process.ts";
import { refusalAnswer, type SimServer } from "./sim-server.ts";
import { hearStream } from "./sim-tail.ts";
import { thinkTime } from "./workload.ts";

/** What a network needs of its world. */
export interface NetworkPorts {
  readonly scheduler: Scheduler;
  readonly chance: Chance;
  readonly knobs: Knobs;
  /** One that has no `listen` has no live tail. */
  readonly server: Pick<SimServer, "ask"> & Partial<Pick<SimServer, "listen">>;
}

/** What was sent so far. */
export interface Traffic {
  requests: number;
  bytes: number;
}

/** One network; see the module header. */
export interface SimNetwork {
  readonly traffic: Traffic;
  /** Nothing of this device gets through until it is mended. */
  cut(device: string, cut: boolean): void;
  /** Lets its faults begin, and ends them. */
  arm(): void;
  heal(): void;
  /** The door to HTTP of one process. */
  portOf(device: string, process: SimProcess): HttpPort;
}

/** A network, without faults at first. */
export function createNetwork(ports: NetworkPorts): SimNetwork {
  const { scheduler, chance, knobs, server } = ports;
  const cutOff = new Set<string>();
  const traffic: Traffic = { requests: 0, bytes: 0 };
  let armed = false;

  const strikes = (times: OneIn): boolean => armed && times > 0 && chance.oneIn(times);
  const delay = (): number => (armed ? thinkTime(chance, knobs.netDelayMs) : 2);

  function travel(device: string, label: string, arrive: () => void): void {
    scheduler.after(delay(), `${device} ${label}`, () => {
      if (cutOff.has(device)) return;
      if (strikes(knobs.netLoss)) scheduler.note(`${device} ${label} lost`);
      else arrive();
    });
  }

  /** Brings the request to the server, which may answer; a copy of it may follow. */
  function carry(
    device: string,
    request: HttpRequest,
    answered: (answer: HttpAnswer) => void,
  ): void {
    const path = new URL(request.url).pathname;
    travel(device, `→ ${path}`, () => {
      const answer = server.ask(copyOf(request));
      if (answer === undefined) {
        travel(device, "← nobody listens", () => {
          answered({ status: 0, headers: {}, body: new Uint8Array(0) });
        });
        return;
      }
      void answer.then((told) => {
        travel(device, `← ${told.status} ${path}`, () => {
          answered(told);
        });
      });
    });
  }

  function request(device: string, process: SimProcess, wanted: HttpRequest): Promise<HttpAnswer> {
    traffic.requests += 1;
    traffic.bytes += wanted.body?.length ?? 0;
    return new Promise((resolve, reject) => {
      const stop = process.timers.after(wanted.timeoutMs, () => {
        reject(new HoldfastError("network_timeout"));
      });
      wanted.signal?.addEventListener("abort", () => {
        stop();
        reject(new HoldfastError("sync_cancelled"));
      });
      const answered = (answer: HttpAnswer): void => {
        process.deliver("net", () => {
          stop();
          if (answer.status === 0) reject(new HoldfastError("network_unreachable"));
          else resolve({ ...answer, body: answer.body.slice() });
        });
      };
      carry(device, wanted, answered);
      if (strikes(knobs.netDuplicate)) carry(device, wanted, () => undefined);
    });
  }

  /** Hints are messages like others: late, twice, or never. */
  function stream(
    device: string,
    process: SimProcess,
    wanted: HttpRequest,
    listener: HttpStreamListener,
  ): () => void {
    traffic.requests += 1;
    const server = { close: (): void => undefined };
    const hearing = hearStream(process, wanted, listener, () => {
      server.close();
    });
    const broken = (): void => {
      hearing.ended(new HoldfastError("network_unreachable"));
    };
    travel(device, "→ tail", () => {
      const close = ports.server.listen?.(copyOf(wanted), {
        refused(error) {
          travel(device, "← tail refused", () => {
            hearing.refused(refusalAnswer(error));
          });
        },
        chunk(bytes) {
          const arrive = (): void => {
            hearing.chunk(bytes);
          };
          travel(device, "← hint", arrive);
          if (strikes(knobs.netDuplicate)) travel(device, "← hint", arrive);
        },
        ended() {
          travel(device, "← tail ended", broken);
        },
      });
      if (close === undefined) travel(device, "← nobody listens", broken);
      else server.close = close;
    });
    return () => {
      hearing.close();
    };
  }

  return {
    traffic,
    cut(device, cut) {
      if (cut && armed) cutOff.add(device);
      else cutOff.delete(device);
    },
    arm() {
      armed = true;
    },
    heal() {
      armed = false;
      cutOff.clear();
    },
    portOf: (device, process) => ({
      request: (wanted) => request(device, process, wanted),
      stream: (wanted, listener) => stream(device, process, wanted, listener),
    }),
  };
}

/** What arrives is what was sent, not the sender's own memory. */
function copyOf(request: HttpRequest): HttpRequest {
  const { method, url, headers, body, timeoutMs, answerBytesMax } = request;
  return {
    method,
    url,
    headers: { ...headers },
    timeoutMs,
    answerBytesMax,
    ...(body !== undefined && { body: body.slice() }),
  };
}

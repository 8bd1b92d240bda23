/**
 * What people do on a device: record, correct, withdraw, settle, look. Every draft goes into the ledger before
 * it is handed over, every answer when it is heard.
 */
import {
  createUuidV7,
  type Draft,
  type ErrorCode,
  type Holdfast,
  isHoldfastError,
  type AppendResult,
  type RecordedEvent,
} from "@holdfast/core";
import type { Chance } from "../chance.ts";
import type { OpenDevice, SimDevice } from "./device.ts";
import { type Ledger, SafetyError } from "./ledger.ts";
import type { Knobs } from "./knobs.ts";
import type { Scheduler } from "./scheduler.ts";

/** Stands in every note: where it can be read, content can be. */
export const plaintextMark = "¶";

/** What a device works with. */
export interface WorkPorts {
  readonly scheduler: Scheduler;
  readonly ledger: Ledger;
  readonly knobs: Knobs;
  /** Stands between people and the store: planted bugs. */
  readonly surface: (store: Holdfast) => Holdfast;
  /** The subjects that the device may read, in words; `undefined`: all. */
  readonly subjects: readonly string[] | undefined;
  /** Nobody works any more: what is there is brought together. */
  readonly ended: () => boolean;
}

/** A call that was refused may be made again, with the same ids. */
interface Retry {
  readonly drafts: readonly Draft[];
  readonly words: readonly string[];
}

/** Work of one device: goes on in the next process where the last one died. */
export interface Work {
  /** Calls made so far. */
  readonly calls: number;
  /** Works until the calls are used up. */
  run(open: OpenDevice): Promise<void>;
  /** Nobody knows any more what was asked for: the device was put back. */
  forget(): void;
  /** One append that must succeed; the code of its failure otherwise. */
  probe(open: OpenDevice): Promise<string | undefined>;
}

/** Subject words of that number. */
export function subjectOf(number: number): string {
  return `subject/${number + 1}`;
}

/** What a medium that fails may answer; anything else is a defect. */
const refusals: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "store_io_error",
  "store_full",
  "store_corrupt",
  "store_busy",
  "store_read_only",
  "store_rolled_back",
  "store_rewritten",
  "lease_lost",
]);

/** A stream belongs to one subject, and people record where they may read. */
function someStream(
  { knobs, subjects }: Pick<WorkPorts, "knobs" | "subjects">,
  name: string,
  chance: Chance,
): { readonly stream: string; readonly scope: string } {
  const at = chance.integer(knobs.streams.shared + knobs.streams.own);
  const stream = at < knobs.streams.shared ? `shared/${at}` : `${name}/${at}`;
  const scope = subjectOf(at % knobs.subjects);
  if (subjects?.includes(scope) !== false) return { stream, scope };
  return { stream: "shared/0", scope: subjectOf(0) };
}

/** Work of one device. */
export function createWork(device: SimDevice, ports: WorkPorts): Work {
  const { scheduler, ledger, knobs } = ports;
  const { chance, name } = device;
  const retries: Retry[] = [];
  /** Calls whose answer nobody has heard: made again when their process has died. */
  const unanswered = new Set<Retry>();
  const surfaces = new WeakMap<Holdfast, Holdfast>();

  function surfaceOf(store: Holdfast): Holdfast {
    const known = surfaces.get(store) ?? ports.surface(store);
    surfaces.set(store, known);
    return known;
  }
  let calls = 0;
  let words = 0;

  function nextWord(): string {
    words += 1;
    return `${plaintextMark}${name}-${words}`;
  }

  function nextDraft(newId: () => string): { readonly draft: Draft; readonly word: string } {
    const { stream, scope } = someStream(ports, name, chance);
    const weight = chance.oneIn(4);
    const word = weight ? `g${nextNumber()}` : nextWord();
    const draft: Draft = {
      type: weight ? "WeightMeasured" : "NoteTaken",
      stream: weight ? `${stream}/weights` : stream,
      scope,
      actor: "nurse/7",
      data: weight ? { grams: Number(word.slice(1)) } : { text: word },
      ...(chance.oneIn(2) && { id: newId() }),
      ...(chance.oneIn(8) && { lane: "urgent" as const }),
    };
    return { draft, word };
  }

  /** Numbers of several devices never meet. */
  function nextNumber(): number {
    words += 1;
    const device = Number(name.replaceAll(/\D/g, "")) || 0;
    return device * 1_000_000 + words;
  }

  function offer(store: Holdfast, { drafts, words: given }: Retry): void {
    for (const [at, draft] of drafts.entries()) {
      ledger.offer({
        device: name,
        word: given[at] as string,
        stream: draft.stream,
        scope: store.scopeId(draft.scope ?? ""),
        id: draft.id,
      });
    }
  }

  function hearAnswer(result: AppendResult, call: Retry): void {
    scheduler.note(`${name} ${result.status} ${call.words.join(" ")}`);
    if (result.status === "appended") ledger.acknowledge(name, call.words, result.events);
  }

  function hearRefusal(error: unknown, call: Retry | undefined): void {
    if (!isHoldfastError(error)) throw error;
    scheduler.note(`${name} refused ${error.code}`);
    if (!refusals.has(error.code)) throw new SafetyError(`${name}: unexpected ${error.message}`);
    if (call?.drafts.every(({ id }) => id !== undefined) === true) retries.push(call);
  }

  async function append(open: OpenDevice, store: Holdfast, again?: Retry): Promise<void> {
    const newId = createUuidV7(open.process.clock, chance);
    const made = Array.from({ length: chance.oneIn(3) ? 1 + chance.integer(5) : 1 }, () =>
      nextDraft(newId),
    );
    const call = again ?? {
      drafts: made.map(({ draft }) => draft),
      words: made.map(({ word }) => word),
    };
    if (again !== undefined) scheduler.note(`${name} again ${again.words.join(" ")}`);
    offer(store, call);
    unanswered.add(call);
    try {
      const result = await open.hear(store.append(call.drafts));
      unanswered.delete(call);
      hearAnswer(result, call);
    } catch (error) {
      unanswered.delete(call);
      hearRefusal(error, call);
    }
  }

  async function correct(open: OpenDevice, store: Holdfast): Promise<void> {
    const event = someEvent(store, chance);
    if (event === undefined) return;
    const { leaf, scope } = event;
    const word = nextWord();
    const call = { drafts: [{ type: "NoteTaken", stream: "", actor: "" }], words: [word] };
    ledger.offer({ device: name, word, stream: "", scope, id: undefined });
    const change = { actor: "nurse/7", why: "mistyped", data: { text: word } };
    const answer = chance.oneIn(3)
      ? store.retract(leaf, { ...change, type: "NoteTaken" })
      : store.amend(leaf, change);
    try {
      hearAnswer(await open.hear(answer), call);
    } catch (error) {
      hearRefusal(error, undefined);
    }
  }

  async function settle(open: OpenDevice, store: Holdfast): Promise<void> {
    const [conflict] = store.conflicts();
    if (conflict === undefined) return;
    const word = nextWord();
    const call = { drafts: [{ type: "NoteTaken", stream: "", actor: "" }], words: [word] };
    const [event] = store.read({ stream: conflict.stream, limit: 1, headersOnly: true });
    ledger.offer({ device: name, word, stream: "", scope: event?.scope, id: undefined });
    try {
      const answer = store.resolve(conflict.stream, {
        actor: "doctor/1",
        why: "agreed",
        data: { text: word },
      });
      hearAnswer(await open.hear(answer), call);
    } catch (error) {
      hearRefusal(error, undefined);
    }
  }

  function look(store: Holdfast): void {
    store.status();
    store.query("diary", { order: ["-events"], limit: 10 });
    store.conflicts();
  }

  async function actOnce(open: OpenDevice): Promise<void> {
    const store = surfaceOf(open.store);
    const kind = chance.integer(20);
    const again = chance.oneIn(4) ? undefined : retries.shift();
    try {
      if (again !== undefined || kind < 13) await append(open, store, again);
      else if (kind < 16) await correct(open, store);
      else if (kind < 18) await settle(open, store);
      else look(store);
    } catch (error) {
      // Reading fails with the medium; what was read is nobody's promise.
      hearRefusal(error, undefined);
    }
  }

  return {
    get calls() {
      return calls;
    },
    async run(open) {
      for (const call of unanswered) {
        if (call.drafts.every(({ id }) => id !== undefined)) retries.push(call);
      }
      unanswered.clear();
      while (calls < knobs.calls && !ports.ended()) {
        await open.sleep(thinkTime(chance, knobs.thinkMs));
        calls += 1;
        const under = [actOnce(open)];
        // Calls that wait together are committed together.
        while (chance.oneIn(4)) under.push(actOnce(open));
        await Promise.all(under);
      }
    },
    forget() {
      retries.length = 0;
      unanswered.clear();
    },
    async probe(open) {
      const word = nextWord();
      const call: Retry = {
        drafts: [
          {
            type: "NoteTaken",
            stream: `${name}/probe`,
            scope: subjectOf(0),
            actor: "nurse/7",
            data: { text: word },
          },
        ],
        words: [word],
      };
      offer(open.store, call);
      try {
        hearAnswer(await open.hear(surfaceOf(open.store).append(call.drafts)), call);
        return undefined;
      } catch (error) {
        if (!isHoldfastError(error)) throw error;
        return error.code;
      }
    },
  };
}

/** An event of this store's own, to be corrected. */
function someEvent(store: Holdfast, chance: Chance): RecordedEvent | undefined {
  const own = store
    .read({ type: "NoteTaken", limit: 200, headersOnly: true })
    .filter(({ op }) => op === "create");
  return own.length === 0 ? undefined : chance.pick(own);
}

/** Exponential times: short ones in bursts, long ones now and then. */
export function thinkTime(chance: Chance, mean: number): number {
  const uniform = (chance.integer(1_000_000) + 1) / 1_000_001;
  return Math.ceil(-Math.log(uniform) * mean);
}

/**
 * What may be done to a room and to a device: `{ initial, decide, evolve }`. `decide` takes a command and
 * the state so far and answers with events to record, or with the reason why not; `evolve` is the fold that
 * the read models use too.
 */

/** A payload with the type of its event. */
export interface DecidedEvent {
  readonly type: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** What {@link Decider.decide} answers: events to record (none: nothing to do), or why not. */
export type Decision =
  | { readonly status: "decided"; readonly events: readonly DecidedEvent[] }
  | { readonly status: "refused"; readonly reason: string };

/** Pure rules of one aggregate. */
export interface Rules<Command, State> {
  readonly initial: State | undefined;
  decide(command: Command, state: State | undefined): Decision;
  evolve(
    state: State | undefined,
    event: { readonly type: string; readonly data: unknown },
  ): State | undefined;
}

type TypedPayload = { readonly type: string; readonly data: unknown };

/** A room as its events left it. */
export interface RoomState {
  readonly name: string;
  readonly use: string;
  readonly floor: number | null;
  /** False once it was removed. */
  readonly present: boolean;
}

/** What can be asked of a room. */
export type RoomCommand =
  | { readonly do: "add"; readonly name: string; readonly use?: string; readonly floor?: number }
  | { readonly do: "rename"; readonly name: string }
  | { readonly do: "remove" };

function decided(type?: string, data: Readonly<Record<string, unknown>> = {}): Decision {
  return { status: "decided", events: type === undefined ? [] : [{ type, data }] };
}

function refused(reason: string): Decision {
  return { status: "refused", reason };
}

/** The fold of a room. */
export function evolveRoom(
  state: RoomState | undefined,
  { type, data }: TypedPayload,
): RoomState | undefined {
  const payload = data as Omit<RoomState, "present">;
  switch (type) {
    case "RoomAdded":
      return { name: payload.name, use: payload.use, floor: payload.floor, present: true };
    case "RoomRenamed":
      return state === undefined ? undefined : { ...state, name: payload.name };
    case "RoomRemoved":
      return state === undefined ? undefined : { ...state, present: false };
    default:
      return state;
  }
}

/** A room is added once, renamed while it is there, and removed; a removed one may be added again. */
export const roomRules: Rules<RoomCommand, RoomState> = {
  initial: undefined,
  evolve: evolveRoom,
  decide(command, state) {
    const present = state?.present ?? false;
    const { do: act, ...data } = command;
    if (act === "add") {
      return present ? refused("the room is there already") : decided("RoomAdded", data);
    }
    if (!present) return refused("there is no such room");
    if (command.do === "remove") return decided("RoomRemoved");
    return state?.name === command.name ? decided() : decided("RoomRenamed", data);
  },
};

/** What a device last said about itself. */
export interface DeviceReport {
  /** UTC with milliseconds. */
  readonly reported_at: string;
  readonly state: string;
  readonly battery_percent: number | null;
  readonly firmware: string | null;
}

/** A device as its events left it. */
export interface DeviceState {
  readonly name: string;
  readonly kind: string;
  readonly room: string | null;
  /** False once it was retired. */
  readonly in_use: boolean;
  readonly report: DeviceReport | null;
}

/** What can be asked of a device. */
export type DeviceCommand =
  | {
      readonly do: "register";
      readonly name: string;
      readonly kind?: string;
      readonly manufacturer?: string;
      readonly model?: string;
      readonly serial_number?: string;
      readonly room?: string | null;
    }
  | { readonly do: "move"; readonly room: string | null }
  | {
      readonly do: "report";
      readonly reported_at: string;
      readonly state: string;
      readonly battery_percent?: number;
    }
  | { readonly do: "retire" };

/** The fold of a device; of two reports the later one holds, in whichever order they come. */
export function evolveDevice(
  state: DeviceState | undefined,
  { type, data }: TypedPayload,
): DeviceState | undefined {
  if (type === "DeviceRegistered") {
    const { name, kind, room } = data as DeviceState;
    return { name, kind, room, in_use: true, report: state?.report ?? null };
  }
  if (state === undefined) return undefined;
  switch (type) {
    case "DeviceMoved":
      return { ...state, room: (data as DeviceState).room };
    case "DeviceRetired":
      return { ...state, in_use: false };
    case "DeviceStatusReported": {
      const said = data as DeviceReport;
      const report = { ...said, reported_at: new Date(said.reported_at).toISOString() };
      const later = state.report === null || report.reported_at >= state.report.reported_at;
      return later ? { ...state, report } : state;
    }
    default:
      return state;
  }
}

/** A device is registered once, moved and heard while it is in use, and retired. */
export const deviceRules: Rules<DeviceCommand, DeviceState> = {
  initial: undefined,
  evolve: evolveDevice,
  decide(command, state) {
    const inUse = state?.in_use ?? false;
    const { do: act, ...data } = command;
    if (act === "register") {
      return inUse ? refused("the device is in use already") : decided("DeviceRegistered", data);
    }
    if (!inUse) return refused("no such device is in use");
    if (command.do === "retire") return decided("DeviceRetired");
    if (command.do === "report") return decided("DeviceStatusReported", data);
    return state?.room === command.room ? decided() : decided("DeviceMoved", data);
  },
};

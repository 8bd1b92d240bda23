/**
 * What may be done to a room and to a device, as deciders: `handleCommand` of `@holdfast/core` runs them
 * against a store. `evolve` is the fold that the read models use too.
 */
import { type Decider, refuseCommand } from "@holdfast/core";

/** An event of a room or a device: decided, and not recorded yet; or recorded. */
export interface HomeEvent {
  readonly type: string;
  readonly data: unknown;
}

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

function event(type: string, data: unknown = {}): readonly HomeEvent[] {
  return [{ type, data }];
}

/** The fold of a room. */
export function evolveRoom(
  state: RoomState | undefined,
  { type, data }: HomeEvent,
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
export const roomDecider: Decider<RoomState | undefined, RoomCommand, HomeEvent> = {
  initial: () => undefined,
  evolve: evolveRoom,
  decide(command, state) {
    const present = state?.present ?? false;
    const { do: act, ...data } = command;
    if (act === "add") {
      return present ? refuseCommand("the room is there already") : event("RoomAdded", data);
    }
    if (!present) return refuseCommand("there is no such room");
    if (command.do === "remove") return event("RoomRemoved");
    return state?.name === command.name ? [] : event("RoomRenamed", data);
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
  { type, data }: HomeEvent,
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
export const deviceDecider: Decider<DeviceState | undefined, DeviceCommand, HomeEvent> = {
  initial: () => undefined,
  evolve: evolveDevice,
  decide(command, state) {
    const inUse = state?.in_use ?? false;
    const { do: act, ...data } = command;
    if (act === "register") {
      return inUse
        ? refuseCommand("the device is in use already")
        : event("DeviceRegistered", data);
    }
    if (!inUse) return refuseCommand("no such device is in use");
    if (command.do === "retire") return event("DeviceRetired");
    if (command.do === "report") return event("DeviceStatusReported", data);
    return state?.room === command.room ? [] : event("DeviceMoved", data);
  },
};

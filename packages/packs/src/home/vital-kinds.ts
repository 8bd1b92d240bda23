/**
 * The kinds of vital signs: codes, units, what a reading may be at all, and the thresholds that hold until
 * others are set.
 *
 * Codes are LOINC as the FHIR R4 vital signs profiles name them (glucose: 15074-8), units UCUM. The default
 * thresholds are examples for resting adults; they are no medical advice, and `ThresholdSet` replaces them
 * for one series.
 */

/** The kinds of vital signs. */
export const vitalSignKinds = [
  "heart_rate",
  "blood_pressure",
  "oxygen_saturation",
  "temperature",
  "respiration",
  "glucose",
  "weight",
] as const;
/** A kind of vital sign. */
export type VitalSignKind = (typeof vitalSignKinds)[number];

/** How far a reading is from what is expected: normal < warning < critical. */
export const alarmLevels = ["normal", "warning", "critical"] as const;
/** An alarm level. */
export type AlarmLevel = (typeof alarmLevels)[number];

/** Bounds of one value in the unit of its kind; null: no bound. A value on a bound is within it. */
export interface Bounds {
  readonly low_critical: number | null;
  readonly low_warning: number | null;
  readonly high_warning: number | null;
  readonly high_critical: number | null;
}

/** What is fixed about one kind of vital sign. */
export interface VitalSignDefinition {
  /** LOINC code of the observation. */
  readonly loinc: string;
  /** LOINC codes of systolic and diastolic pressure. */
  readonly components?: { readonly value: string; readonly diastolic: string };
  /** UCUM code of value and bounds. */
  readonly unit: string;
  /** Readings outside of this are refused as impossible. */
  readonly possible: { readonly min: number; readonly max: number };
  readonly bounds: Bounds;
  /** For diastolic pressure. */
  readonly diastolicBounds?: Bounds;
}

function bounds(
  low_critical: number | null,
  low_warning: number | null,
  high_warning: number | null,
  high_critical: number | null,
): Bounds {
  return { low_critical, low_warning, high_warning, high_critical };
}

/** Codes, units and default thresholds by kind. */
export const vitalSigns: Readonly<Record<VitalSignKind, VitalSignDefinition>> = {
  heart_rate: {
    loinc: "8867-4",
    unit: "/min",
    possible: { min: 0, max: 400 },
    bounds: bounds(40, 50, 110, 130),
  },
  blood_pressure: {
    loinc: "85354-9",
    components: { value: "8480-6", diastolic: "8462-4" },
    unit: "mm[Hg]",
    possible: { min: 0, max: 400 },
    bounds: bounds(90, 100, 160, 180),
    diastolicBounds: bounds(40, 50, 100, 120),
  },
  oxygen_saturation: {
    loinc: "2708-6",
    unit: "%",
    possible: { min: 0, max: 100 },
    bounds: bounds(90, 94, null, null),
  },
  temperature: {
    loinc: "8310-5",
    unit: "Cel",
    possible: { min: 20, max: 50 },
    bounds: bounds(35, 36, 38, 39.5),
  },
  respiration: {
    loinc: "9279-1",
    unit: "/min",
    possible: { min: 0, max: 200 },
    bounds: bounds(8, 11, 21, 25),
  },
  glucose: {
    loinc: "15074-8",
    unit: "mmol/L",
    possible: { min: 0, max: 100 },
    bounds: bounds(3, 3.9, 10, 13.9),
  },
  weight: {
    loinc: "29463-7",
    unit: "kg",
    possible: { min: 0, max: 1_000 },
    bounds: bounds(null, null, null, null),
  },
};

/** The level of one value under bounds. */
export function levelOf(value: number, { low_critical, low_warning, ...high }: Bounds): AlarmLevel {
  const below = (bound: number | null): boolean => bound !== null && value < bound;
  const above = (bound: number | null): boolean => bound !== null && value > bound;
  if (below(low_critical) || above(high.high_critical)) return "critical";
  return below(low_warning) || above(high.high_warning) ? "warning" : "normal";
}

/** The more serious of two levels. */
export function worseLevel(a: AlarmLevel, b: AlarmLevel): AlarmLevel {
  return alarmLevels.indexOf(a) >= alarmLevels.indexOf(b) ? a : b;
}

/** The stream of one subject's series of one kind: its readings and the thresholds for them. */
export function vitalSignStream(subject: string, kind: VitalSignKind): string {
  return `vital-sign/${subject}/${kind}`;
}

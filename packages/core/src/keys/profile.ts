/**
 * Profiles: what an installation may be weak in. `production` refuses every weakness of the table and names the
 * setting that lets it be; `development` refuses what is dangerous unless a capability flag allows it, and warns
 * of everything that it lets pass.
 *
 * The flags are one hierarchy: a flag allows what stands below it. None is set by default.
 *
 *     weak
 *     ├─ weak.keys       simulator, volatile, extractable, without-recovery
 *     ├─ weak.files      readable-by-others
 *     └─ weak.listeners  plaintext
 */

/** Which rules an installation runs under. */
export type Profile = "production" | "development";

/** Everything that may be weak, with what it means; `tolerated`: development warns and needs no flag. */
export const weaknesses = {
  "weak.keys.simulator": {
    means: "a simulated key provider may hold keys",
    tolerated: false,
  },
  "weak.keys.volatile": {
    means: "keys may be gone with the process or with the machine's next start",
    tolerated: false,
  },
  "weak.keys.extractable": {
    means: "a device that could keep its keys to itself lets them be copied",
    tolerated: false,
  },
  "weak.keys.without-recovery": {
    means: "no recovery key opens the store when every key provider is lost",
    tolerated: true,
  },
  "weak.files.readable-by-others": {
    means: "other users of the machine may read the keyring or the database",
    tolerated: true,
  },
  "weak.listeners.plaintext": {
    means: "a listener that other machines reach has no TLS",
    tolerated: false,
  },
} as const satisfies Readonly<
  Record<string, { readonly means: string; readonly tolerated: boolean }>
>;

/** One thing that may be weak: the lowest flags of the hierarchy. */
export type Weakness = keyof typeof weaknesses;

/** Every flag: a weakness, or a group of them. */
export type WeakFlag = Weakness | "weak" | "weak.keys" | "weak.files" | "weak.listeners";

/** All flags, groups first. */
export const weakFlags: readonly WeakFlag[] = [
  "weak",
  "weak.keys",
  "weak.files",
  "weak.listeners",
  ...(Object.keys(weaknesses) as Weakness[]),
];

/** Does one of the flags allow that weakness? */
export function isAllowed(flags: readonly WeakFlag[], weakness: Weakness): boolean {
  return flags.some((flag) => weakness === flag || weakness.startsWith(`${flag}.`));
}

/** A weakness that was found, and where: a provider's name, a file's role, a setting. Never a path or a secret. */
export interface FoundWeakness {
  readonly weakness: Weakness;
  readonly found: string;
}

/** What follows from what was found. */
export interface ProfileVerdict {
  /** The flag, or the weakness, that stops the start; the first of them is the reason. */
  readonly refused: readonly { readonly setting: WeakFlag; readonly found: string }[];
  /** Let pass, and to be told at every start. */
  readonly warnings: readonly FoundWeakness[];
}

/** Decides what may start. */
export function judgeProfile(
  profile: Profile,
  flags: readonly WeakFlag[],
  found: readonly FoundWeakness[],
): ProfileVerdict {
  if (profile === "production") {
    const set = flags.map((setting) => ({ setting, found: "flag" }));
    const weak = found.map(({ weakness, found: where }) => ({ setting: weakness, found: where }));
    return { refused: [...set, ...weak], warnings: [] };
  }
  const passes = ({ weakness }: FoundWeakness): boolean =>
    weaknesses[weakness].tolerated || isAllowed(flags, weakness);
  return {
    refused: found
      .filter((one) => !passes(one))
      .map(({ weakness, found: where }) => ({ setting: weakness, found: where })),
    warnings: found.filter(passes),
  };
}

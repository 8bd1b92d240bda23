/**
 * Who may open what, told without keys: a model for tests of access and grants. Device 0 founds the tenant and
 * reads everything; 1 and 2 begin with access to nothing.
 */

/** One thing that happens in a tenant of three devices; scopes in words, `*`: all. */
export type AccessStep =
  | { readonly act: "grant" | "revoke"; readonly device: 1 | 2; readonly scope: string }
  | { readonly act: "record"; readonly device: 0 | 1 | 2; readonly scope: string }
  | { readonly act: "intrude"; readonly device: 1 | 2 };

interface ModelKey {
  readonly maker: number;
  readonly scope: string;
  readonly holders: Set<number>;
  current: boolean;
}

/** The model of one tenant. */
export interface AccessModel {
  /** Texts in the order in which they were recorded. */
  readonly recorded: readonly { readonly text: string }[];
  apply(step: AccessStep, text: string): void;
  /** Everybody has synced: a key goes to whoever has access while it is known. */
  settle(): void;
  mayOpen(device: number, text: string): boolean;
}

/** A tenant in which nothing has happened. */
export function createAccessModel(): AccessModel {
  const access = [new Set(["*"]), new Set<string>(), new Set<string>()];
  const keys: ModelKey[] = [];
  const recorded: { readonly text: string; readonly key: ModelKey }[] = [];
  const reads = (device: number, scope: string): boolean =>
    access[device]?.has("*") === true || access[device]?.has(scope) === true;
  return {
    recorded,
    apply(step: AccessStep, text: string): void {
      const rows = access[step.device] as Set<string>;
      if (step.act === "grant") rows.add(step.scope);
      if (step.act === "revoke") {
        const before = new Set(rows);
        if (step.scope === "*") rows.clear();
        else rows.delete(step.scope);
        const lost = [...before].filter((scope) =>
          scope === "*" ? !rows.has("*") : !reads(step.device, scope),
        );
        for (const key of keys) {
          if (lost.includes("*") || lost.includes(key.scope)) key.current = false;
        }
      }
      if (step.act !== "record") return;
      const { device, scope } = step;
      let key = keys.find((held) => held.current && held.maker === device && held.scope === scope);
      if (key === undefined) {
        key = { maker: device, scope, holders: new Set([device]), current: true };
        keys.push(key);
      }
      recorded.push({ text, key });
    },
    settle(): void {
      for (const { scope, holders } of keys) {
        for (const device of [0, 1, 2]) if (reads(device, scope)) holders.add(device);
      }
    },
    mayOpen: (device: number, text: string): boolean =>
      recorded.find((event) => event.text === text)?.key.holders.has(device) ?? false,
  };
}

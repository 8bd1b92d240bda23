/** A Standard Schema that accepts everything: what is refused is then refused by the store itself. */
export interface StandardSchemaV1<Input = unknown, Output = Input> {
  readonly "~standard": {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => { readonly value: Output };
    readonly types?: { readonly input: Input; readonly output: Output } | undefined;
  };
}

export const anything: StandardSchemaV1 = {
  "~standard": { version: 1, vendor: "tests", validate: (value) => ({ value }) },
};

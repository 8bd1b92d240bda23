// The package declares its build only where its asynchronous API is imported; the simulator calls the C
// functions themselves.
declare module "@journeyapps/wa-sqlite/dist/wa-sqlite.mjs" {
  const createModule: (options: { readonly wasmBinary: Uint8Array }) => Promise<unknown>;
  export { createModule as default };
}

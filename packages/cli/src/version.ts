/** Version of the software, as `--version` says it. */
export const softwareVersion = "0.1.0";

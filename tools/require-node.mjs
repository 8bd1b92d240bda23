// Says plainly what is wrong when the scripts run on a Node that cannot run the sources as they are.
const [major, minor] = process.versions.node.split(".").map(Number);
if (major < 24 || (major === 24 && minor < 12)) {
  console.error(
    `Holdfast needs Node 24.12 or newer; this is ${process.versions.node}.\n` +
      "`npm ci` installs Node 24 into node_modules for Linux and Windows on x64 and Linux on arm64.\n" +
      "Elsewhere install Node 24 yourself. Was `npm ci` run with --omit=optional?",
  );
  process.exit(1);
}

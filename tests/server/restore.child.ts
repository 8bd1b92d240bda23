/** Puts a backup in the place of a server's database, or lets the logs of the one that is there go on. */
import { loadConfig, openServerBackups } from "@holdfast/server/serve";

const [data = "", from] = process.argv.slice(2);
const backups = openServerBackups(loadConfig({ environment: {}, flags: { data } }));
process.stdout.write("began\n");
await backups.restore(from);
process.stdout.write("done\n");

/**
 * Rotates keys and records events meanwhile until it dies: FOLDER KIND FROM.
 *
 * KIND is `epoch`, `provider` (to the passphrase in HOLDFAST_NEW_PASSPHRASE) or `data`. Each promise is a line, as
 * in `write.ts`; `rotate` says that a rotation begins, `rotated` that one has ended. Ends by itself after one
 * rotation of a provider key.
 */
import { writeSync } from "node:fs";
import { createKeyDesk, createSoftwareProvider, isHoldfastError } from "@holdfast/core";
import { createNodeCrypto, systemRandom } from "@holdfast/node";
import { draftOf, open, promiseOf } from "../lab.ts";

const [folder = "", kind = "", from = "1"] = process.argv.slice(2);
const say = (line: string): void => void writeSync(1, `${line}\n`);
const crypto = createNodeCrypto();

try {
  const store = await open(folder);
  say("open");
  const desk = createKeyDesk(store);
  let n = Number(from);
  const until = { ended: false };
  const recording = (async () => {
    while (!until.ended) {
      const result = await store.append(draftOf(n));
      if (result.status !== "appended") throw new Error(result.status);
      say(promiseOf(result.events[0]?.id ?? "", n++));
    }
  })();
  for (;;) {
    say("rotate");
    if (kind === "epoch") await desk.rotateEpoch();
    else if (kind === "data") await desk.rotateData({ former: "destroy" });
    else {
      const passphrase = process.env["HOLDFAST_NEW_PASSPHRASE"] ?? "";
      const cost = { memoryKib: 8, passes: 1, lanes: 1 };
      const ports = { crypto, random: systemRandom, parameters: undefined, cost };
      await desk.rotateProvider(createSoftwareProvider({ ...ports, passphrase }));
    }
    say("rotated");
    if (kind === "provider") break;
  }
  until.ended = true;
  await recording;
  await store.close();
} catch (error) {
  if (!isHoldfastError(error)) throw error;
  say(`error ${error.code}`);
}

/** What the platform gives: cryptography, chance, clock. */
import { createNodeCrypto, systemClock, systemRandom } from "@holdfast/node";

export const platform = { crypto: createNodeCrypto(), random: systemRandom, clock: systemClock };

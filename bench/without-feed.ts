/**
 * Loaded before a projector's own code, by the bench alone: `BENCH_WITHOUT` says what it leaves undone. `lines`: nothing is written of buckets and nothing sealed; `seals`: lines are written, and not sealed.
 */
import { registerHooks } from "node:module";

const CUT: Readonly<Record<string, readonly (readonly [file: string, opening: string])[]>> = {
  lines: [
    ["services/views/write/feed.ts", "export async function writeFeed("],
    ["services/projector/sealer.ts", "export async function keepSealing("],
  ],
  seals: [["services/projector/sealer.ts", "export async function keepSealing("]],
};
const cut = CUT[process.env.BENCH_WITHOUT ?? ""] ?? [];

registerHooks({
  load(url, context, next) {
    const loaded = next(url, context);
    const [, opening] = cut.find(([file]) => url.endsWith(file)) ?? [];
    if (opening === undefined) return loaded;
    const text = String(loaded.source);
    if (!text.includes(opening)) throw new Error(`the bench does not find ${opening} in ${url}`);
    // The function's name goes to one that does nothing; the real one stays beside it, unused.
    const name = /function (\w+)\($/.exec(opening)?.[1] ?? "";
    return {
      ...loaded,
      source: `${text.replace(opening, `async function ${name}Left(`)}\nexport async function ${name}(...args: unknown[]): Promise<void> { void ${name}Left; void args; }\n`,
    };
  },
});

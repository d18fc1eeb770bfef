import { setTimeout as sleep } from "node:timers/promises";
import { messageOf } from "../core/index.ts";
import { reconcile } from "../projector/index.ts";
import type { Command } from "./args.ts";
import { withBuilder } from "./commands-rebuild.ts";
import { checkEvery, DAY_HOURS, EVERY_HOURS } from "./every.ts";
import { FOLDER_OPTIONS, viewsOf } from "./folders.ts";
import { ended, logger } from "./worker-log.ts";

const HOUR_MS = 3_600_000;
/** At most this many events a second, so that the hub's own work comes first. */
const MAX_RATE = 2_000;

export const reconciler: Command = {
  name: "reconciler",
  summary: "compare views with the log on a schedule (a hub with --reconcile-every starts one itself)",
  usage: "tributary reconciler --every HOURS [--data DIR] [--schemas DIR] [--projections DIR] [--log FILE]",
  help: "Every so many hours, compares all views with the fold of the log, corrects what differs, and logs what it found.",
  maxPositionals: 0,
  options: { data: { type: "string" }, ...FOLDER_OPTIONS, every: { type: "string" }, log: { type: "string" } },
  async run({ text, number, need }) {
    need("every", "the hours between two runs");
    const say = logger("reconciler", text("log"));
    const stop = new AbortController();
    const stopped = ended().then(() => stop.abort());
    process.send?.({ ready: true });
    const everyHours = number("every", DAY_HOURS, EVERY_HOURS);
    checkEvery(everyHours);
    while (!stop.signal.aborted) {
      for (let hour = 0; hour < everyHours && !stop.signal.aborted; hour++)
        await sleep(HOUR_MS, undefined, { signal: stop.signal }).catch(() => {});
      if (stop.signal.aborted) break;
      try {
        const names = (await viewsOf(text("data"))).map(({ name }) => name);
        const found = await withBuilder(text("data"), (deps) =>
          reconcile(deps, { names, repair: true, maxEventsPerSecond: MAX_RATE, signal: stop.signal }),
        );
        for (const result of found) say({ event: "reconciled", ...result });
      } catch (error) {
        say({ event: "reconcile-interrupted", message: messageOf(error) });
      }
    }
    await stopped;
    return 0;
  },
};

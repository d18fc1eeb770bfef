import { openLog } from "../log/index.ts";
import { startProjector } from "../projector/index.ts";
import type { Command } from "./args.ts";
import { FOLDER_OPTIONS, foldersOf, loadViews } from "./folders.ts";
import { hubHere } from "./reach.ts";
import { openHubGate } from "./registry.ts";
import { ended, logger } from "./worker-log.ts";

const BUSY_SIGN_MS = 10_000;

export const projector: Command = {
  name: "projector",
  summary: "run the projector alone (the hub starts one itself)",
  usage: "tributary projector [--data DIR] [--schemas DIR] [--projections DIR] [--log FILE] [--again]",
  help: "Folds the log into PostgreSQL. Several may run: they share the work, and take over the work of one that ends. All must have the same projections. If projections have changed, it rebuilds their views first, except with --again, which the hub uses to restart a projector that has ended.",
  options: { data: { type: "string" }, ...FOLDER_OPTIONS, log: { type: "string" }, again: { type: "boolean" } },
  async run({ text, flag, out }) {
    const { eventstoreUrl, postgresUrl } = hubHere(text("data"));
    const say = logger("projector", text("log"));
    const folders = foldersOf(text("data"));
    const log = openLog(eventstoreUrl);
    const { registry, gate } = await openHubGate(log, folders, say);
    // Building views takes as long as their history is long: whoever waits for this process is told that it is at work.
    const signs = setInterval(
      () => process.send?.({ busy: "it is building views whose declarations have changed" }),
      BUSY_SIGN_MS,
    );
    const running = await startProjector({
      postgresUrl,
      log,
      gate,
      projections: await loadViews(folders),
      mayBuild: !flag("again"),
      say,
    }).finally(() => clearInterval(signs));
    say({ event: "projector-started" });
    process.send?.({ ready: true });
    out.line("The projector follows the log.");
    await Promise.race([ended(), running.done]);
    registry.close();
    await running.close();
    await log.close();
    return 0;
  },
};

import { readSettings, startNotifier } from "../notify/index.ts";
import { connectViews } from "../views/index.ts";
import type { Command } from "./args.ts";
import { settingsFile } from "./paths.ts";
import { hubHere } from "./reach.ts";
import { ended, logger } from "./worker-log.ts";

export const notifier: Command = {
  name: "notifier",
  summary: "run the notifier alone (the hub starts one itself)",
  usage: "tributary notifier [--data DIR] [--log FILE]",
  help: `Tells people about conflicts. notifications.json in the hub's folder, or the file that TRIBUTARY_NOTIFICATIONS names, says whom to tell and how; it is read
at the start. Several may run at once; each notification is sent by one of them. Without the file nobody is told, and the notifications are kept as
failed until you name a target.`,
  options: { data: { type: "string" }, log: { type: "string" } },
  async run({ text, out }) {
    const { postgresUrl } = hubHere(text("data"));
    const say = logger("notifier", text("log"));
    const settings = readSettings(settingsFile(text("data")), process.env);
    const running = startNotifier({
      connect: () => connectViews(postgresUrl, `tributary-notifier pid ${process.pid}`),
      settings,
      say,
    });
    say({ event: "notifier-started", targets: [...settings.keys()] });
    process.send?.({ ready: true });
    out.line(`The notifier serves ${settings.size} ${settings.size === 1 ? "target" : "targets"}.`);
    await Promise.race([ended(), running.done]);
    await running.close();
    return 0;
  },
};

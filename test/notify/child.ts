/** A notifier in a process of its own, for a test that kills it. Arguments: the database's URL and the webhook's. */
import { parseSettings, startNotifier } from "../../services/notify/index.ts";
import { connectViews } from "../../services/views/index.ts";

const [postgresUrl, url] = process.argv.slice(2);
startNotifier({
  connect: () => connectViews(postgresUrl!, "tributary-test-killed"),
  settings: parseSettings({ targets: { desk: { webhook: { url, secret: "a-secret-of-the-desk" } } } }),
});

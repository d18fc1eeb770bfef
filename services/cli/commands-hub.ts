import { isTributaryError, TributaryError, withoutLogin } from "../core/index.ts";
import { addressesOf, parseListen, publicUrl } from "./addresses.ts";
import type { Command, Input } from "./args.ts";
import { NATS_OPTIONS, useNatsFiles } from "./broker.ts";
import { told } from "./commands-backup.ts";
import { checkEvery, EVERY_HOURS } from "./every.ts";
import { FOLDER_OPTIONS } from "./folders.ts";
import { table } from "./output.ts";
import { hubDir } from "./paths.ts";
import { PROJECTOR_COUNT, settingOf } from "./settings.ts";
import { type Hub, type HubOptions, startHub } from "./supervise.ts";

const PORTS = { nats: "nats-port", eventstore: "eventstore-port", postgres: "postgres-port" } as const;
const VARIABLES = {
  nats: "TRIBUTARY_NATS_URL",
  eventstore: "TRIBUTARY_EVENTSTORE_URL",
  postgres: "TRIBUTARY_POSTGRES_URL",
} as const;
const LAST_PORT = 65_535;

/** The ports that were asked for. Throws `usage` for a number that is not a port, and for the port of a server that is not the hub's own. */
function portsOf({ text, number }: Input): NonNullable<HubOptions["ports"]> {
  const ports: Partial<Record<keyof typeof PORTS, number>> = {};
  for (const name of ["nats", "eventstore", "postgres"] as const) {
    const option = PORTS[name];
    const said = text(option) === undefined ? settingOf(`ports.${name}`) : undefined;
    if (text(option) === undefined && said === undefined) continue;
    const port = said === undefined ? number(option, 0, { least: 1, most: LAST_PORT }) : Number(said);
    if (port < 1 || port > LAST_PORT)
      throw new TributaryError("usage", `--${option} ${port} is not a port`, `Give a number from 1 to ${LAST_PORT}.`);
    if (process.env[VARIABLES[name]])
      throw new TributaryError(
        "usage",
        `--${option} is for the hub's own server, and ${VARIABLES[name]} names another`,
        "Leave out one of the two.",
      );
    ports[name] = port;
  }
  return ports;
}

/** The addresses at which devices reach the hub, as its operator gives them. One empty word means: forget them. `undefined`: none were given. */
function publicUrlsOf({ list }: Input): string[] | undefined {
  const said = settingOf("publicUrls");
  const given = list("public-url").length > 0 || said === undefined ? list("public-url") : [said];
  if (given.length === 0) return undefined;
  const urls = given.flatMap((text) => text.split(",")).map((text) => text.trim());
  return urls.filter((url) => url !== "").map((url) => publicUrl(url, "--public-url"));
}

export const hub: Command = {
  name: "hub",
  summary: "run a hub: broker, event store, views, ingress and projector",
  usage:
    "tributary hub [--data DIR] [--org NAME] [--schemas DIR] [--projections DIR] [--listen HOST:PORT] [--public-url URL]… [--nats-port N] [--eventstore-port N] [--postgres-port N] [--projectors N] [--reconcile-every HOURS] [--require-keys] [--anchor FILE|URL] [--nats-creds FILE] [--nats-nkey FILE] [--nats-ca FILE] [--nats-cert FILE --nats-key FILE]",
  help: `Starts everything that a hub needs, and runs until Ctrl-C. For each server the hub takes the first of these that there is: the address in the
environment (TRIBUTARY_NATS_URL, TRIBUTARY_EVENTSTORE_URL, TRIBUTARY_POSTGRES_URL; docs/production.md has the settings for logins and certificates),
a container engine, a program on PATH, the embedded one. If one of the hub's own servers ends, the hub starts it again. If that fails, the hub ends and
says why. Data stay in --data (default .tributary/hub) between runs, and the ports stay the same. Settings may also stand in tributary.config.ts
(\`tributary config check\` shows them).

  --schemas, --projections  the folders of your own forms and views. The hub keeps them for its next start, and every command on this hub uses them
  --public-url       where devices reach this hub; \`site add\` prints it. Repeat the option or use commas; "" forgets the addresses
  --projectors       how many processes share the folding (default 1)
  --reconcile-every  compare views with the log every so many hours, and correct what differs
  --require-keys     accept nothing from devices that have no enrolled key
  --anchor           (or TRIBUTARY_ANCHOR) keep the signed end of the log in a file outside the data folder, or at an address that accepts PUT. If the
                     log was set back or replaced without a declared restore, the next start notices it

If the data folder has a notifications.json, the hub tells people of conflicts.

  tributary hub --org relief --listen 127.0.0.1:8080 --public-url https://hub.example.org`,
  options: {
    data: { type: "string" },
    org: { type: "string" },
    ...FOLDER_OPTIONS,
    listen: { type: "string" },
    "public-url": { type: "string", multiple: true },
    "nats-port": { type: "string" },
    "eventstore-port": { type: "string" },
    "postgres-port": { type: "string" },
    projectors: { type: "string" },
    "reconcile-every": { type: "string" },
    "require-keys": { type: "boolean" },
    ...NATS_OPTIONS,
    anchor: { type: "string" },
  },
  async run(input) {
    const { text, number, flag, out } = input;
    useNatsFiles(text);
    const dir = hubDir(text("data"));
    const org = text("org") ?? settingOf("org");
    const listen = text("listen") ?? settingOf("listen");
    const publicUrls = publicUrlsOf(input);
    const ports = portsOf(input);
    const everySaid = settingOf("reconcileEveryHours");
    const every =
      text("reconcile-every") !== undefined
        ? number("reconcile-every", 0, EVERY_HOURS)
        : everySaid === undefined
          ? undefined
          : Number(everySaid);
    if (every !== undefined) checkEvery(every);
    // Listen from the start: a hub that is stopped while it starts must stop its servers too.
    const stop = new AbortController();
    // Listen to every signal: npm repeats the Ctrl-C that the terminal sends to all processes, and the second one must not end the hub before its servers.
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => stop.abort());
    const stopped = new Promise<void>((resolve) => stop.signal.addEventListener("abort", () => resolve()));
    out.progress(`Starting a hub in ${dir} …`);
    let running: Hub | null = null;
    const say = (line: string): void => out.notice(running === null ? line : `${new Date().toISOString().slice(0, 19)}Z ${line}`);
    try {
      running = await startHub({
        dataDir: dir,
        say,
        projectors: number("projectors", Number(settingOf("projectors") ?? 1), PROJECTOR_COUNT),
        requireKeys: flag("require-keys") || settingOf("requireKeys") === "true",
        ports,
        signal: stop.signal,
        ownGroups: true,
        ...(every === undefined ? {} : { reconcileEveryHours: every }),
        ...(org === undefined ? {} : { org }),
        ...(text("anchor") === undefined ? {} : { anchor: text("anchor")! }),
        ...(listen === undefined ? {} : { listen: parseListen(listen) }),
        ...(publicUrls === undefined ? {} : { publicUrls }),
      });
    } catch (error) {
      if (!stop.signal.aborted || !isTributaryError(error)) throw error;
      out.progress("Stopped before it was up.");
      return 0;
    }
    try {
      tell(running, input);
      await Promise.race([stopped, running.failed]);
    } finally {
      out.progress("Stopping …");
      await running.close();
    }
    return 0;
  },
};

function tell({ state, backends, incarnation }: Hub, { out }: Input): void {
  const servers = [backends.nats, backends.eventstore, backends.postgres];
  out.result({
    ...state,
    natsUrl: withoutLogin(state.natsUrl),
    incarnation,
    backends: servers.map(({ name, how, detail }) => ({ name, how, detail })),
  });
  out.line(`The hub of ${state.org} is running.\n`);
  out.line(
    table(
      ["part", "where", "how"],
      [
        ["HTTP door", state.httpUrl, "ingress"],
        ...servers.map(({ name, url, how, detail }) => [
          name,
          name === "nats" ? withoutLogin(url) : url.replace(/:[^:@/]+@/, ":…@").replace(/&connectionName=.*/, ""),
          `${how}: ${detail}`,
        ]),
      ],
      "  ",
    ),
  );
  const { urls, isReachable } = addressesOf(state);
  if (isReachable) out.line(`\nDevices sync with ${urls.join(" or ")}.`);
  const sentence = told(incarnation);
  out.line(`\n${sentence[0]!.toUpperCase()}${sentence.slice(1)}.`);
  if (!incarnation.isConfirmed)
    out.line(
      "The log holds less than it held before. If you know why, confirm it with `tributary restore --confirm`; docs/operations.md says what to check first.",
    );
  out.line(`\nRegister a site with \`tributary site add NAME\`; Ctrl-C stops the hub.`);
}

import { registrySurface } from "../api/index.ts";
import { followPeople, gatekeeper } from "../http/index.ts";
import { startIngress } from "../ingress/index.ts";
import { natsSettings } from "../local/index.ts";
import { openLog } from "../log/index.ts";
import { parseListen } from "./addresses.ts";
import { type AnchorKeeper, keepAnchor } from "./anchor.ts";
import { anchorLocation, anchorMemory } from "./anchor-location.ts";
import type { Command } from "./args.ts";
import { NATS_OPTIONS, streamSettings, useNatsFiles } from "./broker.ts";
import { openDoorApi } from "./door-api.ts";
import { openPulls } from "./door-pulls.ts";
import { followViews } from "./door-views.ts";
import { FOLDER_OPTIONS, foldersOf } from "./folders.ts";
import { viewParts } from "./health.ts";
import { noteHubKeys, publicPartOf } from "./hub-keys.ts";
import { hubRing, readHubKeys } from "./keys.ts";
import { keepNotingPlaces } from "./order-notes.ts";
import { hubDir, peopleFile } from "./paths.ts";
import { hubHere } from "./reach.ts";
import { authorizeBy, keepAnnounced, openHubGate, registerProjectSchemas } from "./registry.ts";
import { originsIn, settingOf } from "./settings.ts";
import { ended, logger } from "./worker-log.ts";

export const ingress: Command = {
  name: "ingress",
  summary: "run the hub's door alone (the hub starts one itself)",
  usage:
    "tributary ingress [--data DIR] [--schemas DIR] [--projections DIR] [--listen HOST:PORT] [--require-keys] [--anchor FILE|URL] [--log FILE] [--nats-creds FILE] [--nats-nkey FILE] [--nats-ca FILE] [--nats-cert FILE --nats-key FILE]",
  help: `Writes batches from NATS and HTTP to the log. Several may run at once. It uses the servers of the hub in --data, or those in TRIBUTARY_NATS_URL,
TRIBUTARY_EVENTSTORE_URL and TRIBUTARY_POSTGRES_URL. --require-keys: accept nothing from devices that have no enrolled key. --anchor (or TRIBUTARY_ANCHOR):
keep the log's end there (see \`tributary hub --help\`); only one process of a hub does this.`,
  options: {
    data: { type: "string" },
    ...FOLDER_OPTIONS,
    listen: { type: "string" },
    log: { type: "string" },
    anchor: { type: "string" },
    "require-keys": { type: "boolean" },
    ...NATS_OPTIONS,
  },
  async run({ text, flag, out }) {
    useNatsFiles(text);
    const [dir, state] = [hubDir(text("data")), hubHere(text("data"))];
    const { natsUrl, eventstoreUrl, postgresUrl, org } = state;
    const say = logger("ingress", text("log"));
    const location = anchorLocation(text("anchor"), dir);
    const folders = foldersOf(text("data"));
    const log = openLog(eventstoreUrl);
    const { registry, gate } = await openHubGate(log, folders, say, { dir, org });
    const added = await registerProjectSchemas(registry, folders, "hub", (subject, authority) =>
      say({ event: "schema-proposed", subject, authority }),
    );
    if (added.length > 0) say({ event: "schemas-registered", schemas: added });
    const unannounce = keepAnnounced(registry, say);
    const endNoting = await keepNotingPlaces({ dir, org }, { postgresUrl, log, registry, say });
    const views = await followViews({ folders, postgresUrl, gate, say });
    const pulls = openPulls({ postgresUrl, log, gate, views: views.live, readers: views.readers, say });
    const api = openDoorApi({ dir, state, log, gate, registry, views: views.live, say });
    const health = viewParts(postgresUrl, log);
    const ring = await hubRing(dir);
    const people = followPeople(peopleFile(text("data")), { say });
    // Before any batch is taken: a log that was set back must not go on as if nothing had happened.
    const anchor: AnchorKeeper | null =
      location === null
        ? null
        : await keepAnchor({
            ...{ log, location, say, memory: anchorMemory(dir, location) },
            hubKeys: () => readHubKeys(dir).map(publicPartOf),
            signer: () => ring.state().signer,
          });
    const running = await startIngress({
      natsUrl,
      nats: natsSettings(),
      streams: streamSettings(),
      log,
      org: org === "" ? null : org,
      ...(org === "" ? {} : { name: org }),
      parts: { ...health.parts, ...(anchor === null ? {} : { anchor: anchor.part }) },
      gate,
      registry,
      fits: views.fits,
      settled: views.settled,
      pulls,
      also: (keeper, revoked) => {
        const gate = gatekeeper({ ring, keeper, people, revoked, hub: () => (org === "" ? null : org), say });
        return [registrySurface(registry, authorizeBy(keeper, gate)), ...api.surfaces(gate)];
      },
      origins: originsIn(settingOf("origins")),
      keys: ring,
      requireKeys: flag("require-keys"),
      listen: parseListen(text("listen") ?? "127.0.0.1:0"),
      say,
    });
    await noteHubKeys(log.journal, dir);
    say({ event: "ingress-started", url: running.http?.url });
    process.send?.({ ready: true, url: running.http?.url });
    out.line(`Ingress listens at ${running.http?.url}.`);
    try {
      await Promise.race([ended(), running.failed]);
    } finally {
      unannounce();
      await endNoting();
      registry.close();
      await running.close();
      await anchor?.close();
      await Promise.all([pulls.close(), api.close(), views.close(), health.close()]);
      await log.close();
    }
    return 0;
  },
};

import { userInfo } from "node:os";
import { resolve } from "node:path";
import { type Incarnation, TributaryError } from "../core/index.ts";
import { beginIncarnation, confirmIncarnation, currentIncarnation, type Log, openLog } from "../log/index.ts";
import { anchorLocation, anchorMemory } from "./anchor-location.ts";
import type { Command, Input } from "./args.ts";
import { makeBackup } from "./backup.ts";
import { type Manifest, megabytes } from "./manifest.ts";
import { counted } from "./output.ts";
import { hubDir } from "./paths.ts";
import { runningHub } from "./reach.ts";
import { restoreBackup } from "./restore.ts";

const sizeOf = ({ files }: Manifest): string => megabytes(files.reduce((sum, { bytes }) => sum + bytes, 0));

export const backup: Command = {
  name: "backup",
  summary: "back up a hub, while it runs or not",
  usage: "tributary backup DIR [--without-log] [--data DIR]",
  help: `Writes a folder with the log, the hub's own outbox, its settings and signing key, what people were told, and a manifest with the SHA-256 of each
file. The folder is complete or not there at all. It holds people's data and the key that signs tokens: keep it as safe as the hub, and on another disk. It does not hold the views,
which are folded from the log, nor what the broker holds, which is still on the devices. The log's disk must have room for a copy of it. An EventStoreDB
or KurrentDB of your own is backed up by its own means (docs/production.md); then --without-log backs up the rest.

  tributary backup /backups/hub-$(date +%F)`,
  options: { data: { type: "string" }, "without-log": { type: "boolean" } },
  maxPositionals: 1,
  async run({ positionals, text, flag, out }) {
    const [to] = positionals;
    if (to === undefined) throw new TributaryError("usage", "the folder for the backup is missing", `Use: ${backup.usage}`);
    const manifest = await makeBackup({
      dataDir: hubDir(text("data")),
      to,
      withoutLog: flag("without-log"),
      say: out.progress,
    });
    if (process.stderr.isTTY) out.progress("");
    out.result({ backup: resolve(to), ...manifest });
    out.line(
      `Backed up ${manifest.org} to ${resolve(to)}: ${counted(manifest.files.length, "file")}, ${sizeOf(manifest)}${
        manifest.log === null
          ? "; WITHOUT the log, which its own server must back up"
          : `, the log up to position ${manifest.log.end} of incarnation ${manifest.log.incarnation}`
      }.`,
    );
    out.line(`To restore it: tributary restore ${resolve(to)} --data NEW`);
    return 0;
  },
};

export const restore: Command = {
  name: "restore",
  summary: "make a hub's folder from a backup, or declare that its log was restored",
  usage: "tributary restore DIR --data NEW | --declare [--note TEXT] [--data DIR] | --confirm [--anchor FILE|URL] [--data DIR]",
  help: `From a backup: checks every file, and makes the folder NEW, which must be empty or not there. Then start the hub there: its log begins a new incarnation, because
the log gives out positions that it gave before. Devices send again by themselves what the log lacks, and the views are folded again from the log.

Use --declare while the hub runs, after you have restored an event store of your own by its own means. Use --confirm when the hub has found by itself that
the log holds less than before, and you know why. Use --confirm --anchor when the anchor that the hub kept there is gone, you know why, and the hub is to begin
a new one.

  tributary restore /backups/hub-2026-05-03 --data .tributary/hub
  tributary hub`,
  options: {
    data: { type: "string" },
    declare: { type: "boolean" },
    confirm: { type: "boolean" },
    note: { type: "string" },
    anchor: { type: "string" },
  },
  maxPositionals: 1,
  async run(input) {
    const { positionals, flag, text, out } = input;
    const [from] = positionals;
    const modes = [from !== undefined, flag("declare"), flag("confirm")].filter(Boolean).length;
    if (modes !== 1)
      throw new TributaryError("usage", "name a backup, or give one of --declare and --confirm", `Use: ${restore.usage}`);
    if (text("note") !== undefined && !flag("declare"))
      throw new TributaryError("usage", "--note goes with --declare", `Use: ${restore.usage}`);
    if (text("anchor") !== undefined && !flag("confirm"))
      throw new TributaryError("usage", "--anchor goes with --confirm", `Use: ${restore.usage}`);
    if (text("anchor") !== undefined) return confirmGone(input);
    if (from === undefined) return flag("declare") ? declare(input) : confirm(input);
    const dataDir = hubDir(text("data"));
    const manifest = await restoreBackup({ from, dataDir, say: out.progress });
    if (process.stderr.isTTY) out.progress("");
    out.result({ data: dataDir, ...manifest });
    out.line(
      `Restored ${manifest.org} of ${manifest.createdAt} to ${dataDir}${manifest.log === null ? ", without a log" : `: ${manifest.log.events} entries of the log, up to position ${manifest.log.end}`}.`,
    );
    out.line(
      `Start it: tributary hub --data ${dataDir}\nEach device sends again what the log lacks at its next sync; do not reuse the old folder beside it.`,
    );
    return 0;
  },
};

async function withLog<T>(data: string | undefined, work: (log: Log) => Promise<T>): Promise<T> {
  const { eventstoreUrl } = await runningHub(data, ["eventstore"]);
  await using log = openLog(eventstoreUrl);
  return work(log);
}

const declare = ({ text, out }: Input): Promise<number> =>
  withLog(text("data"), async ({ journal }) => {
    const before = await currentIncarnation(journal);
    const note = text("note");
    const begun = await beginIncarnation(journal, before.id, {
      how: "declared",
      by: userInfo().username,
      ...(note === undefined ? {} : { note }),
    });
    out.result(begun);
    out.line(
      `The log is in a new incarnation: ${begun.id} (before: ${before.id}). Devices send again what the log lacks at their next sync.`,
    );
    return 0;
  });

const confirm = ({ text, out }: Input): Promise<number> =>
  withLog(text("data"), async ({ journal }) => {
    const present = await currentIncarnation(journal);
    if (!present.isConfirmed) await confirmIncarnation(journal, present.id, userInfo().username);
    const now = await currentIncarnation(journal);
    out.result(now);
    out.line(
      present.isConfirmed
        ? `There is nothing to confirm: ${told(present)}.`
        : `Confirmed: ${told(now)}. Devices send again what the log lacks at their next sync.`,
    );
    return 0;
  });

/** The operator's word that an anchor is gone, so that the hub begins another one there. */
async function confirmGone({ text, out }: Input): Promise<number> {
  const dataDir = hubDir(text("data"));
  const location = anchorLocation(text("anchor"), dataDir);
  if (location === null)
    throw new TributaryError("usage", "--anchor is empty: it needs a file or an address", `Use: ${restore.usage}`);
  const memory = anchorMemory(dataDir, location);
  if (await location.holdsOne())
    throw new TributaryError(
      "usage",
      `there is an anchor at ${location.name}`,
      "The hub compares its log with it. If that anchor is not to count, move it away first.",
    );
  const wasHeld = memory.hasHeld();
  memory.forget();
  out.result({ anchor: location.name, isForgotten: wasHeld });
  out.line(
    wasHeld
      ? `Confirmed: the hub begins a new anchor at ${location.name}.`
      : `There is nothing to confirm: this hub has kept no anchor at ${location.name}.`,
  );
  return 0;
}

/** An incarnation in a sentence. */
export const told = ({ id, how, by, beganAtMs, note }: Incarnation): string => {
  const when = new Date(beganAtMs).toISOString().slice(0, 16).replace("T", " ");
  const ways = {
    first: "the log's first",
    restored: `restored by ${by}`,
    declared: `declared by ${by}`,
    detected: "found to hold less than before",
  };
  return `the log's incarnation is ${id} (${ways[how]}, ${when} UTC${note === null ? "" : `; ${note}`})`;
};

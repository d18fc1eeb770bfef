import { TributaryError } from "../core/index.ts";
import { type OwedPurges, replicas } from "../desk/index.ts";
import type { Command } from "./args.ts";
import { viewsOf } from "./folders.ts";
import { counted, table } from "./output.ts";
import { withViews } from "./with-views.ts";

export const replicaList: Command = {
  name: "replica list",
  summary: "devices that were told to delete entities, and whether they have",
  usage: "tributary replica list [--unconfirmed DAYS] [--data DIR] [--json]",
  help: `A device whose entities leave a bucket, or that may no longer hold a bucket, is told to delete them, and confirms it with the event \`replica.purged\`. Lists each such device
with what it has not confirmed, and since when. With --unconfirmed, only what devices have owed for at least so many days: those may be lost, or switched off.`,
  maxPositionals: 0,
  options: { data: { type: "string" }, unconfirmed: { type: "string" } },
  async run({ text, out }) {
    const days = daysIn(text("unconfirmed"));
    const projections = await viewsOf(text("data"));
    const found = await withViews(text("data"), (db) => replicas({ db, projections }, days));
    out.result({ replicas: found });
    const rows = found.flatMap(({ device, owes, lastPurge }) =>
      owes.length === 0
        ? [[device, "nothing", "", lastPurge ?? ""]]
        : owes.map((owed) => [device, bucketWords(owed), owed.since, lastPurge ?? ""]),
    );
    out.line(
      rows.length > 0
        ? table(["device", "owes", "since", "last confirmed"], rows)
        : days === null
          ? "No device was told to delete anything yet."
          : `No device has owed a purge for ${counted(days, "day")} or more.`,
    );
    return 0;
  },
};

function daysIn(text: string | undefined): number | null {
  if (text === undefined) return null;
  if (!/^\d{1,5}$/.test(text))
    throw new TributaryError("usage", `--unconfirmed ${text} is not a number of days`, `Use: ${replicaList.usage}`);
  return Number(text);
}

function bucketWords({ bucket, entityType, where, entities }: OwedPurges): string {
  const which = Object.entries(where)
    .map(([column, value]) => `, ${column} ${value ?? "empty"}`)
    .join("");
  const what = entities === null ? "all" : String(entities);
  return entityType === null ? `${what} of bucket ${bucket}` : `${what} of ${entityType}${which}`;
}

import { randomUUID } from "node:crypto";
import { TributaryError } from "../core/index.ts";
import { readSettings, type Settings, senderOf, type Target, testMessage } from "../notify/index.ts";
import { listNotifications, type NotificationState, retryFailed } from "../views/index.ts";
import type { Command } from "./args.ts";
import { table } from "./output.ts";
import { settingsFile } from "./paths.ts";
import { withViews } from "./with-views.ts";

const STATES: Readonly<Record<string, readonly NotificationState[]>> = {
  open: ["waiting", "failed"],
  waiting: ["waiting"],
  failed: ["failed"],
  sent: ["sent"],
  all: ["waiting", "failed", "sent"],
};

export const notifyList: Command = {
  name: "notify list",
  summary: "list notifications: what waits, what failed and why",
  usage: "tributary notify list [--state open|waiting|failed|sent|all] [--data DIR]",
  help: `Without --state: the open ones, which are waiting or failed. Lists the newest 500. A failed one stays until \`tributary notify retry\`.

  tributary notify list --state failed`,
  maxPositionals: 0,
  options: { data: { type: "string" }, state: { type: "string" } },
  async run({ text, out }) {
    const state = text("state") ?? "open";
    const states = Object.hasOwn(STATES, state) ? STATES[state] : undefined;
    if (states === undefined)
      throw new TributaryError("usage", `there is no state ${state}`, `There are ${Object.keys(STATES).join(", ")}.`);
    const rows = await withViews(text("data"), (db) => listNotifications(db, states));
    out.result(rows);
    out.line(
      rows.length === 0
        ? `No notification is ${state === "all" ? "there" : state}.`
        : table(
            ["id", "target", "subject", "state", "tries", "next try", "last error"],
            rows.map((row) => [row.id, row.target, row.subject, row.state, row.tries, row.nextTryAt, row.lastError]),
          ),
    );
    return 0;
  },
};

export const notifyRetry: Command = {
  name: "notify retry",
  summary: "send failed notifications again",
  usage: "tributary notify retry [--target NAME | --id N] [--data DIR]",
  help: `Sets them back to waiting, with all their tries again; the notifier sends them at once. Without --target and --id: all that failed.
A receiver that took one after all recognises it by its Idempotency-Key.

  tributary notify retry --target desk`,
  maxPositionals: 0,
  options: { data: { type: "string" }, target: { type: "string" }, id: { type: "string" } },
  async run({ text, number, out }) {
    const target = text("target");
    const id = text("id") === undefined ? undefined : number("id", 0, { least: 1, most: Number.MAX_SAFE_INTEGER });
    if (target !== undefined && id !== undefined)
      throw new TributaryError("usage", "--target and --id do not go together", `Use: ${notifyRetry.usage}`);
    const which = { ...(target === undefined ? {} : { target }), ...(id === undefined ? {} : { id }) };
    const count = await withViews(text("data"), (db) => retryFailed(db, which));
    if (id !== undefined && count === 0)
      throw new TributaryError(
        "not-found",
        `there is no failed notification ${id}`,
        "`tributary notify list --state failed` lists them.",
      );
    out.result({ retried: count });
    out.line(count === 0 ? "Nothing failed; nothing to retry." : `Put ${count} back to waiting.`);
    return 0;
  },
};

export const notifyTest: Command = {
  name: "notify test",
  summary: "send a test message to a target now, and say what came back",
  usage: "tributary notify test TARGET [--data DIR]",
  help: `TARGET is a name in notifications.json of the hub's folder (or the file that TRIBUTARY_NOTIFICATIONS names). The message is not about a case. This command
sends it itself, whether or not a hub runs.

  tributary notify test desk`,
  maxPositionals: 1,
  options: { data: { type: "string" } },
  async run({ positionals, text, out }) {
    const [name] = positionals;
    if (name === undefined) throw new TributaryError("usage", "the target is missing", `Use: ${notifyTest.usage}`);
    const file = settingsFile(text("data"));
    const target = targetNamed(readSettings(file, process.env), name, file);
    const outcome = await senderOf(target, {})(testMessage(target, new Date(), randomUUID()));
    if (outcome.kind !== "sent")
      throw new TributaryError(
        "backend-failed",
        `${name} did not take the test message: ${outcome.note}`,
        `Check targets.${name} in ${file}, then try again.`,
      );
    out.result({ target: name, ...outcome });
    out.line(`${name} took the test message: ${outcome.note}`);
    if (outcome.missed !== undefined) out.line(`  but ${outcome.missed}`);
    return 0;
  },
};

function targetNamed(settings: Settings, name: string, file: string): Target {
  const target = settings.get(name);
  if (target !== undefined) return target;
  const known = [...settings.keys()];
  throw new TributaryError(
    "not-found",
    `${file} does not name a target ${name}`,
    known.length === 0 ? "docs/notifications.md shows how to write one." : `There are: ${known.join(", ")}.`,
  );
}

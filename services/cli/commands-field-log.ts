import { TributaryError } from "../core/index.ts";
import { type EntityEvent, fieldLog as events, type LoggedEvent, openField, pulledLog } from "../field/index.ts";
import { type Command, ROW_COUNT } from "./args.ts";
import { COMMON, DB_HELP } from "./commands-field.ts";
import { entityNamed } from "./entities.ts";
import { schemasHere } from "./folders.ts";
import { type Output, table, tableWriter } from "./output.ts";
import { fieldPath } from "./paths.ts";

/** Events that are written together. */
const PIECE = 500;

export const fieldLog: Command = {
  name: "field log",
  summary: "list a device's events, oldest first",
  usage: "tributary field log [--since SEQ | --pulled] [--limit N] [--entity TYPE/ID] [--schemas DIR] [--db FILE]",
  help: `Shows for each event its seq, its type, the entity, how far it has come (LOCAL, QUEUED, SYNCED as in \`field status\`; ASIDE: it stays on this device), when it
happened by the device's clock, and who wrote it; and why it is in quarantine, set aside or not readable. A database that has written under several names lists
them one after the other; --since SEQ begins at that seq of the present name. --pulled lists what the hub has sent instead, in the order of the hub's log: its position there, who wrote it,
and what the hub says of it. ${DB_HELP}

  tributary field log --since 100 --limit 20
  tributary field log --entity beneficiary/NBO-000017 --json`,
  maxPositionals: 0,
  options: {
    ...COMMON,
    since: { type: "string" },
    limit: { type: "string" },
    entity: { type: "string" },
    pulled: { type: "boolean" },
  },
  async run({ text, number, flag, out }) {
    const since = text("since") === undefined ? undefined : number("since", 0, { least: 0, most: Number.MAX_SAFE_INTEGER });
    const limit = text("limit") === undefined ? Number.POSITIVE_INFINITY : number("limit", 1, ROW_COUNT);
    const named = text("entity");
    const entity = named === undefined ? undefined : entityNamed(named);
    using field = openField({ path: fieldPath(text("db")), schemas: schemasHere() });
    const found = events(field.store, { ...(since === undefined ? {} : { since }), ...(entity === undefined ? {} : { entity }) });
    if (flag("pulled")) {
      if (since !== undefined)
        throw new TributaryError("usage", "--since and --pulled do not go together", `Use: ${fieldLog.usage}`);
      tellPulled(pulledLog(field, entity === undefined ? {} : { entity }), limit, out);
      return 0;
    }
    const write = out.json ? jsonWriter(out) : tableOf(out);
    const left = await writeUpTo(found, limit, write);
    await write.end(left);
    return 0;
  },
};

function tellPulled(found: Iterable<EntityEvent>, limit: number, out: Output): void {
  const shown: EntityEvent[] = [];
  let more = false;
  for (const event of found) {
    more = shown.length >= limit;
    if (more) break;
    shown.push(event);
  }
  out.result({ events: shown.map((event) => ({ ...event, entity: `${event.entity.type}/${event.entity.id}` })), more });
  out.line(
    shown.length === 0
      ? "The hub has sent no such events to this device."
      : table(
          ["position", "type", "entity", "event", "happened", "recorded", "by", "notes"],
          shown.map((e) => [
            ...[e.position ?? "", e.type, `${e.entity.type}/${e.entity.id}`, `${e.origin}/${e.seq}`],
            ...[e.occurredAt, e.recordedAt ?? "", e.actor, e.notes.join("; ")],
          ]),
        ),
  );
  if (more) out.notice("There are more: a higher --limit shows them.");
}

interface Writer {
  /** `false`: nobody reads any more. */
  events(events: readonly LoggedEvent[]): Promise<boolean>;
  /** `next`: the first event that was left out; `null`: none was. */
  end(next: LoggedEvent | null): Promise<void>;
}

/** Writes events in pieces; returns the first event that is left out. */
async function writeUpTo(found: Iterable<LoggedEvent>, limit: number, write: Writer): Promise<LoggedEvent | null> {
  let piece: LoggedEvent[] = [];
  let count = 0;
  for (const event of found) {
    if (count >= limit) {
      await write.events(piece);
      return event;
    }
    count++;
    if (piece.push(event) < PIECE) continue;
    if (!(await write.events(piece))) return null;
    piece = [];
  }
  await write.events(piece);
  return null;
}

const nameOf = ({ entity }: LoggedEvent): string | null => (entity === null ? null : `${entity.type}/${entity.id}`);

function tableOf(out: Output): Writer {
  let origin: string | null = null;
  let table = tableWriter(HEADER);
  return {
    async events(events) {
      for (const [name, some] of Map.groupBy(events, (event) => event.origin)) {
        if (name !== origin) {
          if (!(await out.piece(`${origin === null ? "" : "\n"}${name}\n`))) return false;
          origin = name;
          table = tableWriter(HEADER, "  ");
        }
        const rows = some.map((e) => [e.seq, e.type ?? "(damaged)", nameOf(e), e.level, e.occurredAt, e.actor, e.problem ?? ""]);
        if (!(await out.piece(`${table.piece(rows)}\n`))) return false;
      }
      return true;
    },
    async end(next) {
      if (origin === null) await out.piece("There are no such events on this device.\n");
      if (next !== null) out.notice(`There are more: --since ${next.seq} shows the next.`);
    },
  };
}

const HEADER = ["seq", "type", "entity", "level", "happened", "by", "problem"];

function jsonWriter(out: Output): Writer {
  let isFirst = true;
  return {
    async events(events) {
      if (events.length === 0) return true;
      const text = events.map((event) => `\n    ${JSON.stringify({ ...event, entity: nameOf(event) })}`).join(",");
      const isTaken = await out.piece(`${isFirst ? '{\n  "events": [' : ","}${text}`);
      isFirst = false;
      return isTaken;
    },
    async end(next) {
      const after = next === null ? null : next.seq;
      await out.piece(`${isFirst ? '{\n  "events": [' : "\n  "}],\n  "more": ${next !== null},\n  "next": ${after}\n}\n`);
    },
  };
}

import {
  canonicalize,
  type Fact,
  isOwnOrigin,
  type Journal,
  type JsonObject,
  type LogEntry,
  SCHEMA_ENTITY,
  SCHEMA_REGISTERED,
} from "../core/index.ts";
import { sha256Hex } from "../core/node.ts";
import { announcedBy, announcementsOf } from "../gate/index.ts";

/** Compares the events of a hub's registry with its facts. */
export interface SchemaCheck {
  entry(entry: LogEntry): void;
  /** Reads the facts: those that had no event yet when the log was read are no problem. */
  end(): Promise<void>;
}

interface Told {
  readonly where: string;
  readonly digest: string;
  /** The same without its authority, which facts of earlier versions do not name. */
  readonly bare: string;
  readonly subject: string | null;
}

/**
 * Checks that each event of a hub's registry tells one fact of the log as it is, no fact is told twice, and the versions of a subject are told in their order. A fact without an event is
 * no problem: a hub that was stopped in between writes it when it starts. In memory is one digest for each event.
 */
export function schemaCheck(journal: Pick<Journal, "read">, report: (where: string, what: string) => void): SchemaCheck {
  const told = new Map<string, Told>();
  const versions = new Map<string, number>();
  const compare = (facts: readonly Fact[]): void => {
    for (const { key, data } of announcementsOf(facts)) {
      const event = told.get(key);
      if (event === undefined) continue;
      told.delete(key);
      if (digestOf(data) !== ("authority" in data ? event.digest : event.bare))
        report(event.where, `it tells ${key} otherwise than the registry has it: one of the two was altered`);
    }
  };
  return {
    entry({ head: { origin, seq, type, entity }, content }) {
      if (entity.type !== SCHEMA_ENTITY || content.kind !== "accepted" || !isOwnOrigin(origin, null)) return;
      const where = `${origin}/${seq}`;
      const key = announcedBy(type, content.data);
      const before = told.get(key);
      if (before !== undefined) report(where, `it tells ${key} again, which ${before.where} has told`);
      const isVersion = type === SCHEMA_REGISTERED;
      const next = (versions.get(entity.id) ?? 0) + 1;
      if (isVersion && before === undefined && content.data.version !== next)
        report(where, `it tells ${key} where version ${next} should come: an event is missing before it`);
      if (isVersion) versions.set(entity.id, Math.max(next, Number(content.data.version)));
      const { authority: _, ...bare } = content.data;
      told.set(key, { where, digest: digestOf(content.data), bare: digestOf(bare), subject: isVersion ? entity.id : null });
    },
    async end() {
      const subjects = new Set([...told.values()].flatMap(({ subject }) => (subject === null ? [] : [subject])));
      compare(await journal.read("registry"));
      for (const subject of subjects) compare(await journal.read(`schema-${subject}`));
      for (const [key, { where }] of told)
        report(where, `the registry has no ${key}: its fact was removed, or nobody registered it`);
    },
  };
}

const digestOf = (data: JsonObject): string => sha256Hex(canonicalize(data));

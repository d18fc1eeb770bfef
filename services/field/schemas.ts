import {
  type JsonObject,
  type OriginId,
  SCHEMA_REGISTERED,
  type SchemaNews,
  schemaRegistrationOf,
  speaksForHub,
} from "../core/index.ts";
import { type SchemaStore, type SchemaVersion, schemasDigest, schemaVersion, shortFingerprints } from "../gate/index.ts";
import type { Store } from "./store.ts";

/**
 * The schemas of a device: those its app came with, and those the hub has told it of since. Where both have a version of the same name, the
 * hub's counts, because the data is read by it. Events are written with what is here, offline; nothing is fetched to write one.
 */
export interface FieldSchemas extends SchemaStore {
  /** A short text that is the same for the same schemas, so a sync without news costs only a few bytes. */
  digest(): string;
  /** Each subject's fingerprints, by version. */
  have(): Record<string, string[]>;
  /** Keeps the schemas that the hub has sent. Returns how many versions are new here. */
  learn(news: readonly SchemaNews[]): number;
  /**
   * Keeps what events of a hub's registry say (`schema.registered`), later ones instead of earlier ones: a pull hands over those of a page before it is read, since other events of it may be written with them.
   * Returns how many versions are new here, or say something else than before. Events of other types, and of origins that speak for no hub, say nothing. The caller has them from a
   * page that its own hub has signed.
   */
  learnEvents(events: readonly SchemaTold[]): number;
  /** Texts of versions that the hub does not know. */
  offers(unknown: readonly { readonly subject: string; readonly version: number }[]): SchemaNews[];
}

/** The part of an event that says whether it registers a schema. */
export interface SchemaTold {
  readonly type: string;
  readonly origin: OriginId;
  readonly data: JsonObject;
}

function registeredBy({ type, origin, data }: SchemaTold): SchemaNews[] {
  const told = type === SCHEMA_REGISTERED && speaksForHub(origin, null) ? schemaRegistrationOf(data) : null;
  return told === null ? [] : [told];
}

type Versions = ReadonlyMap<string, readonly SchemaVersion[]>;
const differs = (old: Versions, now: Versions, { subject, version }: Pick<SchemaNews, "subject" | "version">): boolean =>
  old.get(subject)?.[version - 1]?.fingerprint !== now.get(subject)?.[version - 1]?.fingerprint;

export function fieldSchemas(store: Store, base: SchemaStore): FieldSchemas {
  let bySubject = load();

  const held: SchemaStore = {
    subjects: () => [...bySubject.keys()].sort(),
    versions: (subject) => bySubject.get(subject) ?? [],
  };
  const learn: FieldSchemas["learn"] = (news) => {
    if (news.length === 0) return 0;
    store.transaction(() => {
      for (const { subject, version, kind, text, references } of news)
        store.rows.setSchema({ subject, version, kind, text, refs: JSON.stringify(references) });
    });
    const before = count();
    const old = bySubject;
    bySubject = load();
    const changed = news.filter(
      ({ subject, version }) => old.get(subject)?.[version - 1] !== undefined && differs(old, bySubject, { subject, version }),
    ).length;
    return count() - before + changed;
  };
  return {
    ...held,
    digest: () => schemasDigest(held),
    have: () => shortFingerprints(held),
    learn,
    learnEvents: (events) => learn(events.flatMap(registeredBy)),
    offers: (unknown) =>
      unknown.flatMap(({ subject, version }) => {
        const known = bySubject.get(subject)?.[version - 1];
        return known === undefined
          ? []
          : [{ subject, version, kind: known.kind, text: known.text, references: [...known.references] }];
      }),
  };

  function count(): number {
    return [...bySubject.values()].reduce((sum, versions) => sum + versions.length, 0);
  }
  /** The hub's versions, then the app's beyond them. A version that this program cannot read, because it is of a newer program, ends its subject here. */
  function load(): Map<string, SchemaVersion[]> {
    const out = new Map<string, SchemaVersion[]>();
    const rows = store.rows.schemas();
    const told = new Map(rows.map((row) => [`${row.subject}@${row.version}`, row]));
    const make = (subject: string, version: number): SchemaVersion | undefined => {
      const known = out.get(subject)?.[version - 1];
      if (known !== undefined) return known;
      const row = told.get(`${subject}@${version}`);
      if (row === undefined) return base.versions(subject)[version - 1];
      try {
        const given = { kind: row.kind, text: row.text, references: JSON.parse(row.refs) as SchemaVersion["references"] };
        return schemaVersion(subject, version, given, (reference) => make(reference.subject, reference.version), {
          trusted: true,
        });
      } catch {
        return undefined;
      }
    };
    for (const subject of new Set([...base.subjects(), ...rows.map((row) => row.subject)])) {
      const versions: SchemaVersion[] = [];
      out.set(subject, versions);
      for (let next = make(subject, 1); next !== undefined; next = make(subject, versions.length + 1)) versions.push(next);
      if (versions.length === 0) out.delete(subject);
    }
    return out;
  }
}

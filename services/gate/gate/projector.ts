import {
  ALL_WITHHELD,
  copiedInto,
  followWithheld,
  isJsonObject,
  type JsonObject,
  type JsonValue,
  NONE_WITHHELD,
  OPENS_ALL,
  type Opened,
  type Opener,
  RELEASED,
  releaseOf,
  type SchemaRef,
  type SealedHead,
} from "../../core/index.ts";
import { type Caster, type Casters, type Walk, walkCasters } from "../casters.ts";
import type { Compiled } from "../compiled.ts";
import type { Shelf } from "./shelf.ts";

/** The versions that somebody reads with, by subject; a subject that is not named is read as its first. */
export type Pins = Readonly<Record<string, number>>;

/** How data of any version is read. */
export interface Reading {
  /**
   * Data of any version as `pins` (default: the newest) has it. Data of an unknown schema is returned as it is. Throws where one version
   * cannot be read as the other, which can happen only after a change registered without compatibility. For data that were not sealed yet: all else asks `openAs`.
   */
  read(schema: SchemaRef, data: JsonObject, pins?: Pins): { readonly data: JsonObject; readonly version: number };
  /** The same for data of which some members are withheld. */
  readOpened(schema: SchemaRef, opened: Opened, pins?: Pins): Opened;
  /** What members of events of a type, written in whatever version, are called as `pins` (default: the newest) has them, or what is made of them; `ALL_WITHHELD` among them: it may be any member. */
  namesRead(type: string, names: readonly string[], pins?: Pins): readonly string[];
  /** The newest version of every subject, to read with from now on. */
  pins(): Pins;
}

/** The one place where the values of accepted events are opened. */
export interface Opening {
  /** What this gate may open, as text; empty: everything. */
  readonly rights: string;
  /** An event's data as they were written, as far as they may be seen. */
  open(head: SealedHead, data: JsonObject): Opened;
  /** An event's data as `pins` (default: the newest) has them, as far as they may be seen. Throws as `read` does. */
  openAs(head: SealedHead, data: JsonObject, pins?: Pins): Opened;
  /** The members that may be withheld of events of a type, as `pins` (default: the newest) has them; `ALL_WITHHELD` among them: any. */
  withholds(type: string, pins?: Pins): readonly string[];
}

/** What the projector asks, and whoever else reads what was accepted. */
export interface ProjectorGate extends Reading, Opening {}

export function reading({ store, newest, compiledOf }: Shelf, casters: Casters): Reading {
  /** Who wrote, who reads, and by which way; `null`: the data are taken as they are. */
  const wayOf = (schema: SchemaRef, pins: Pins | undefined) => {
    const { subject, version } = schema;
    const target = pins === undefined ? newest(subject)?.version : (pins[subject] ?? 1);
    const writer = compiledOf(schema);
    if (target === undefined || typeof writer === "string") return null;
    const reader = compiledOf({ subject, version: target });
    if (typeof reader === "string") return null;
    const walk = target === version ? null : walkCasters(casters, { subject, from: version, to: target });
    if (walk === null && reader.schema.kind !== writer.schema.kind) return null;
    const compiledAt = (at: number): Compiled => {
      const compiled = compiledOf({ subject, version: at });
      if (typeof compiled === "string") throw new TypeError(compiled);
      return compiled;
    };
    // Every version on the way must be usable, whether or not a caster leads past it.
    for (const at of walk?.through ?? []) compiledAt(at);
    return { writer, reader, target, walk, compiledAt };
  };
  return {
    read(schema, data, pins) {
      const way = wayOf(schema, pins);
      if (way === null) return { data, version: schema.version };
      const { writer, reader, target, walk, compiledAt } = way;
      if (walk === null) return { data: reader.readFrom(writer, data), version: target };
      const value = walk.run(data, (given, from, to) => compiledAt(to).readFrom(compiledAt(from), given));
      return { data: reader.readFrom(reader, value), version: target };
    },

    readOpened(schema, opened, pins) {
      const way = wayOf(schema, pins);
      if (way === null) return opened;
      const { writer, reader, walk, compiledAt } = way;
      if (walk === null) return reader.readOpened(writer, opened);
      let value = opened;
      for (const { from, to, cast } of walk.steps)
        value = cast === null ? compiledAt(to).readOpened(compiledAt(from), value) : castOpened(cast, value);
      return reader.readOpened(reader, value);
    },

    namesRead(type, names, pins) {
      if (names.length === 0 || names.includes(ALL_WITHHELD)) return names;
      const out = new Set(names);
      for (const { subject, version } of versionsFor(store, type)) {
        for (const name of namesAlong(wayOf({ subject, version }, pins), names)) out.add(name);
      }
      return [...out];
    },

    pins: () => Object.fromEntries(store.subjects().map((subject) => [subject, store.versions(subject).length])),
  };
}

const ANY: readonly string[] = [ALL_WITHHELD];

/** The versions of all schemas that events of a type may be written with. */
const versionsFor = (store: Shelf["store"], type: string): readonly SchemaRef[] =>
  store
    .subjects()
    .flatMap((subject) =>
      store
        .versions(subject)
        .flatMap(({ annotations }, i) => (annotations.events.includes(type) ? [{ subject, version: i + 1 }] : [])),
    );

interface ReadWay {
  readonly writer: Compiled;
  readonly reader: Compiled;
  readonly walk: Walk | null;
  compiledAt(version: number): Compiled;
}

/** What members are called, or are made into, on the way from writer to reader. Where one cannot be read as the other, nothing is known. */
function namesAlong(way: ReadWay | null, names: readonly string[]): readonly string[] {
  if (way === null) return names;
  const { writer, reader, walk, compiledAt } = way;
  try {
    if (walk === null) return reader.namesFrom(writer, names);
    let now = names;
    for (const { from, to, cast } of walk.steps)
      now = cast === null ? compiledAt(to).namesFrom(compiledAt(from), now) : (copiedInto(cast, now, String(cast)) ?? ANY);
    return now;
  } catch {
    return ANY;
  }
}

/** What a caster makes of data of which it may not see all. */
function castOpened(cast: Caster, opened: Opened): Opened {
  const followed = followWithheld(cast, { ...opened, data: structuredClone(opened.data) });
  if (followed.kind === "unknown") return { data: {}, withheld: [ALL_WITHHELD] };
  const { result } = followed;
  if (!isJsonObject(result as JsonValue)) throw new TypeError("the caster did not return an object");
  return { data: result as JsonObject, withheld: followed.kind === "same" ? NONE_WITHHELD : followed.withheld };
}

/** An event's data as they were written, as far as an opener may see them. */
export function openWith(opener: Opener, head: SealedHead, data: JsonObject): Opened {
  const release = releaseOf(head.type, data);
  if (release === null) return opener.open(head, data);
  // A release carries the data of another event, which are sealed as that one's are.
  const inner = opener.open(release, release.data);
  return { data: { ...data, data: inner.data }, withheld: inner.withheld.map((name) => `data.${name}`) };
}

/** Opens values with an opener, and reads them. */
export function opening(
  { read, readOpened, namesRead }: Pick<Reading, "read" | "readOpened" | "namesRead">,
  opener: Opener,
): Opening {
  if (opener === OPENS_ALL)
    return {
      rights: "",
      open: opener.open,
      openAs: ({ schema }, data, pins) => ({ data: read(schema, data, pins).data, withheld: NONE_WITHHELD }),
      withholds: () => NONE_WITHHELD,
    };
  return {
    rights: opener.rights,
    // A release carries the data of an event of any type.
    withholds: (type, pins) => (type === RELEASED ? ANY : namesRead(type, opener.withholds?.(type) ?? ANY, pins)),
    open: (head, data) => openWith(opener, head, data),
    openAs(head, data, pins) {
      const opened = opener.open(head, data);
      return opened.withheld.length === 0
        ? { data: read(head.schema, opened.data, pins).data, withheld: NONE_WITHHELD }
        : readOpened(head.schema, opened, pins);
    },
  };
}

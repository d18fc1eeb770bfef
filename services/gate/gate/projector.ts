import type { JsonObject, SchemaRef } from "../../core/index.ts";
import { type Casters, walkCasters } from "../casters.ts";
import type { Compiled } from "../compiled.ts";
import type { Shelf } from "./shelf.ts";

/** The versions that somebody reads with, by subject; a subject that is not named is read as its first. */
export type Pins = Readonly<Record<string, number>>;

/** What the projector asks, and whoever else reads what was accepted. */
export interface ProjectorGate {
  /**
   * Data of any version as `pins` (default: the newest) has it. Data of an unknown schema is returned as it is. Throws where one version
   * cannot be read as the other, which can happen only after a change registered without compatibility.
   */
  read(schema: SchemaRef, data: JsonObject, pins?: Pins): { readonly data: JsonObject; readonly version: number };
  /** The newest version of every subject, to read with from now on. */
  pins(): Pins;
}

export function projectorGate({ store, newest, compiledOf }: Shelf, casters: Casters): ProjectorGate {
  return {
    read(schema, data, pins) {
      const { subject, version } = schema;
      const target = pins === undefined ? newest(subject)?.version : (pins[subject] ?? 1);
      const writer = compiledOf(schema);
      if (target === undefined || typeof writer === "string") return { data, version };
      const reader = compiledOf({ subject, version: target });
      if (typeof reader === "string") return { data, version };
      const walk = target === version ? null : walkCasters(casters, { subject, from: version, to: target });
      if (walk === null) {
        return reader.schema.kind !== writer.schema.kind
          ? { data, version }
          : { data: reader.readFrom(writer, data), version: target };
      }
      const compiledAt = (at: number): Compiled => {
        const compiled = compiledOf({ subject, version: at });
        if (typeof compiled === "string") throw new TypeError(compiled);
        return compiled;
      };
      // Every version on the way must be usable, whether or not a caster leads past it.
      for (const at of walk.through) compiledAt(at);
      const value = walk.run(data, (given, from, to) => compiledAt(to).readFrom(compiledAt(from), given));
      return { data: reader.readFrom(reader, value), version: target };
    },

    pins: () => Object.fromEntries(store.subjects().map((subject) => [subject, store.versions(subject).length])),
  };
}

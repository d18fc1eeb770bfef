import { isJsonObject, type JsonObject, NONE_WITHHELD, type Opener, RESOLVED } from "../../services/core/index.ts";

/** Opens all but some fields, whichever event writes them: as a device would that has no right to them. */
export function withholding(fields: readonly string[]): Opener {
  const split = (data: JsonObject): { readonly open: JsonObject; readonly withheld: readonly string[] } => ({
    open: Object.fromEntries(Object.entries(data).filter(([name]) => !fields.includes(name))),
    withheld: Object.keys(data).filter((name) => fields.includes(name)),
  });
  return {
    withholds: () => fields,
    rights: `all but ${[...fields].sort().join(", ")}`,
    open({ type }, data) {
      const values = data.values ?? null;
      const isDecision = type === RESOLVED && isJsonObject(values);
      const { open, withheld } = split(isDecision ? values : data);
      if (withheld.length === 0) return { data, withheld: NONE_WITHHELD };
      return { data: isDecision ? { ...data, values: open } : open, withheld };
    },
  };
}

/**
 * Values that a replica may not see. They stand in no data: an event's data come with the names of the members that are missing, so nothing that an author writes can pass for a withheld value.
 * What follows from such data is found by running the function that makes it on data whose withheld members tell when they are read.
 */
import type { EntityRef, SchemaRef } from "./event.ts";
import type { OriginId, Seq } from "./ids.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "./json.ts";

/** What is known of an event whose values are to be opened. */
export interface SealedHead {
  readonly type: string;
  readonly entity: EntityRef;
  readonly schema: SchemaRef;
  readonly origin: OriginId;
  readonly seq: Seq;
}

/** An event's data as far as a replica may see them. */
export interface Opened {
  readonly data: JsonObject;
  /** Members that the event has and that are not in `data`. Of a person's decision: the names of its values. `ALL_WITHHELD` among them: any member may be missing. */
  readonly withheld: readonly string[];
}

/** Opens the values of events, as far as it may. */
export interface Opener {
  /** What it may open, as text. Where this changes, views are folded again. */
  readonly rights: string;
  /** Members that were written, and that it may not open, are named in `withheld` and are not in `data`. */
  open(head: SealedHead, data: JsonObject): Opened;
  /**
   * The members that it may withhold of an event of this type, whoever wrote it and whatever it says: as they are called in any version of its form. Of a person's decision: names of its values.
   * It is asked where the hub sends a state in place of events. Without it, such a state shows nothing but that the entity is there, and what is withheld.
   */
  withholds?(type: string): readonly string[];
}

/** Nothing is withheld. */
export const NONE_WITHHELD: readonly string[] = Object.freeze([]);
/** It cannot be told which members are missing. No form has a member of this name. */
export const ALL_WITHHELD = "*";

/** Opens everything. */
export const OPENS_ALL: Opener = {
  rights: "",
  open: (_, data) => ({ data, withheld: NONE_WITHHELD }),
  withholds: () => NONE_WITHHELD,
};

/** What a function made of data with withheld members. */
export type Followed =
  /** It looked at none of them: its result is the same on every replica. */
  | { readonly kind: "same"; readonly result: unknown }
  /** It only handed them on: the members of its result that hold one are left out, and named. */
  | { readonly kind: "parts"; readonly result: JsonObject; readonly withheld: readonly string[] }
  /** All of its result may follow from them. */
  | { readonly kind: "unknown" };

/** Runs a function on data of which some members are withheld. Throws what it throws, unless that may be because of them. */
export function followWithheld(run: (data: JsonObject) => unknown, { data, withheld }: Opened, text = String(run)): Followed {
  if (withheld.includes(ALL_WITHHELD)) return { kind: "unknown" };
  const { seen, wasRead } = watched(data, withheld, standIn);
  let result: unknown;
  try {
    result = run(seen);
  } catch (error) {
    if (!wasRead() && !isUncloned(error)) throw error;
    return { kind: "unknown" };
  }
  // The data themselves may be among the result: then it holds the stand-ins, though nothing has read them yet.
  holdsStandIn(result);
  if (!wasRead()) return { kind: "same", result };
  // Whether a stand-in is there, is true or equals something can be asked without its noticing: only a function that asks nothing is believed.
  if (!copiesOnly(text) || !isJsonObject(result as JsonValue)) return { kind: "unknown" };
  const members = Object.entries(result as JsonObject);
  const held = members.filter(([, value]) => holdsStandIn(value)).map(([name]) => name);
  return { kind: "parts", result: Object.fromEntries(members.filter(([name]) => !held.includes(name))), withheld: held };
}

/** The members of a function's result into which it copies members of its data; `null`: its text does more than copy, so all of its result may follow from them. */
export function copiedInto(
  run: (data: JsonObject) => unknown,
  members: readonly string[],
  text: string,
): readonly string[] | null {
  if (members.includes(ALL_WITHHELD) || !copiesOnly(text)) return null;
  try {
    const followed = followWithheld(run, { data: {}, withheld: members }, text);
    return followed.kind === "unknown" ? null : followed.kind === "same" ? [] : followed.withheld;
  } catch {
    // It takes apart what is not there.
    return null;
  }
}

/** `structuredClone` reads all members, and refuses what `watched` makes. */
const isUncloned = (error: unknown): boolean => error instanceof DOMException && error.name === "DataCloneError";

/**
 * A row or document whose withheld members note that they were read. `null` stands for each, or what `standsFor` gives. The names of all members are read, too, where `data` does not say at which place
 * a withheld one stands.
 */
export function watched(
  data: JsonObject,
  withheld: readonly string[],
  standsFor: () => unknown = () => null,
): { readonly seen: JsonObject; readonly wasRead: () => boolean } {
  let isRead = false;
  const seen: Record<string, JsonValue> = { ...data };
  const hasPlaces = withheld.every((name) => Object.hasOwn(data, name));
  for (const name of withheld)
    Object.defineProperty(seen, name, {
      configurable: true,
      enumerable: true,
      get() {
        isRead = true;
        return standsFor();
      },
      set(value: unknown) {
        Object.defineProperty(seen, name, { configurable: true, enumerable: true, writable: true, value });
      },
    });
  const ownKeys = (target: JsonObject): (string | symbol)[] => {
    isRead = true;
    return Reflect.ownKeys(target);
  };
  return { seen: hasPlaces ? seen : new Proxy(seen, { ownKeys }), wasRead: () => isRead };
}

const standIns = new WeakSet<object>();
const refuse = (): never => {
  throw new TypeError("this value is withheld");
};
const TRAPS: ProxyHandler<object> = {
  ...{ get: refuse, set: refuse, has: refuse, ownKeys: refuse, getOwnPropertyDescriptor: refuse, defineProperty: refuse },
  ...{ deleteProperty: refuse, getPrototypeOf: refuse, setPrototypeOf: refuse, isExtensible: refuse, preventExtensions: refuse },
};
/** What is handed to functions in the place of a value: it can be handed on; whoever looks into it throws. */
function standIn(): object {
  const made = new Proxy({}, TRAPS);
  standIns.add(made);
  return made;
}

function holdsStandIn(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  return standIns.has(value) || Object.values(value).some(holdsStandIn);
}

const OPERATES =
  /\b(?:get|set|new|async|await|yield|throw|try|if|do|in|of|typeof|void|delete|instanceof|switch|case|while|for|with|__proto__)\b/;

/**
 * Whether the text of a function does nothing but take apart and put together: `({ data, site }) => ({ ...data, site })`. It holds no operator, no call and no condition, so it cannot tell one
 * value from another.
 */
function copiesOnly(text: string): boolean {
  const plain = text.replaceAll(/"[^"\\\n]*"|'[^'\\\n]*'/g, "0").replaceAll("=>", ";");
  if (!/^[\w$\s{}(),.:;]*$/.test(plain)) return false;
  return !/[\w$)\]}]\s*\(/.test(plain) && !OPERATES.test(plain);
}

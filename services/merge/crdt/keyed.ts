import {
  canonicalize,
  type Hlc,
  isJsonObject,
  type JsonObject,
  type JsonValue,
  type OriginId,
  type Seq,
  type Vector,
} from "../../core/index.ts";
import type { Crdt, CrdtWrite } from "../crdt.ts";
import { type Author, applyWrite, type Register, type Sibling } from "../register.ts";
import { lastWriteWins, NO_CONTEXT } from "../resolvers.ts";
import { byText } from "./dots.ts";

/** Most elements or keys that one write may name. What is removed leaves a trace, so a state is as large as all it has ever named. */
export const MAX_KEYS_PER_WRITE = 10_000;

/**
 * One register for each element or key, by its canonical JSON (so that 1 and "1" are two, and "__proto__" is one like any other). What
 * registers share stands once: `o`: origins; `a`: authors [origin, seq, hlc, clock wrong]; `v`: contexts [origin, seq, origin, seq …];
 * `k`: [key, context, [author, value …] …], sorted by canonical JSON. All are numbered in the order in which the sorted keys first
 * use them, so that equal registers make equal states.
 */
interface State {
  readonly o: readonly OriginId[];
  readonly a: readonly (readonly [number, Seq, Hlc, 0 | 1])[];
  readonly v: readonly (readonly number[])[];
  readonly k: readonly (readonly [key: JsonValue, context: number, ...siblings: (readonly [number, ...JsonValue[]])[]])[];
}

/** A register's values: what was set, as a list of one; the empty list is a removal. */
type Cell = readonly [] | readonly [JsonValue];
interface Entry {
  readonly key: JsonValue;
  readonly register: Register;
}
type Entries = ReadonlyMap<string, Entry>;

/** A state that was unpacked once is not unpacked again: joining and reading go on from the state that the last join made. */
const unpacked = new WeakMap<object, Entries>();

function entriesOf(state: JsonValue | undefined): Entries {
  if (state === undefined) return new Map();
  const known = unpacked.get(state as object);
  if (known !== undefined) return known;
  const { o, a, v, k } = state as unknown as State;
  const authors = a.map(
    ([origin, seq, hlc, wrong]): Author => ({ origin: o[origin]!, seq, hlc, actor: "", clockWrong: wrong === 1, position: null }),
  );
  const contexts = v.map((pairs): Vector => {
    const context: Record<OriginId, Seq> = {};
    for (let i = 0; i < pairs.length; i += 2) context[o[pairs[i]!]!] = pairs[i + 1] as Seq;
    return context;
  });
  const entries = new Map<string, Entry>();
  for (const [key, context, ...cells] of k) {
    const siblings = cells.map(([author, ...value]): Sibling => ({ by: authors[author]!, value }));
    entries.set(canonicalize(key), { key, register: { siblings, context: contexts[context]! } });
  }
  unpacked.set(state as object, entries);
  return entries;
}

function pack(entries: Entries): JsonValue {
  const packed = { o: [] as OriginId[], a: [] as State["a"][number][], v: [] as number[][], k: [] as State["k"][number][] };
  const numbers = new Map<string, number>();
  const byIdentity = new Map<object, number>();
  const numberOf = <T>(list: T[], name: string, make: () => T): number => {
    let at = numbers.get(name);
    if (at === undefined) {
      const item = make();
      at = list.push(item) - 1;
      numbers.set(name, at);
    }
    return at;
  };
  const originAt = (origin: OriginId): number => numberOf(packed.o, `o${origin}`, () => origin);
  const authorAt = ({ origin, seq, hlc, clockWrong }: Author): number =>
    numberOf(packed.a, `a${origin}/${seq}`, (): State["a"][number] => [originAt(origin), seq, hlc, clockWrong ? 1 : 0]);
  const contextAt = (context: Vector): number => {
    let at = byIdentity.get(context);
    if (at === undefined) {
      const origins = (Object.keys(context) as OriginId[]).sort();
      const name = `v${origins.map((origin) => `${origin}/${context[origin]}`).join()}`;
      at = numberOf(packed.v, name, () => origins.flatMap((origin) => [originAt(origin), context[origin]!]));
      byIdentity.set(context, at);
    }
    return at;
  };
  for (const name of [...entries.keys()].sort()) {
    const { key, register } = entries.get(name)!;
    const cells = register.siblings.map(({ by, value }) => [authorAt(by), ...(value as Cell)] as const);
    packed.k.push([key, contextAt(register.context), ...cells]);
  }
  const state = packed as unknown as JsonValue;
  unpacked.set(packed, entries);
  return state;
}

/** The state after a write that sets some keys and removes others. Of the author, only what decides is kept: no actor and no position. */
function joinKeys(
  state: JsonValue | undefined,
  { by, basis }: CrdtWrite,
  cells: readonly (readonly [JsonValue, Cell])[],
): JsonValue {
  const author: Author = { origin: by.origin, seq: by.seq, hlc: by.hlc, actor: "", clockWrong: by.clockWrong, position: null };
  const entries = new Map(entriesOf(state));
  for (const [key, cell] of cells) {
    const name = canonicalize(key);
    const known = entries.get(name);
    entries.set(name, { key, register: applyWrite(known?.register, { by: author, basis, value: cell }) });
  }
  return pack(entries);
}

type Scalar = string | number | boolean;
interface SetChange {
  readonly add: readonly Scalar[];
  readonly remove: readonly Scalar[];
}

const isScalar = (value: JsonValue): value is Scalar =>
  typeof value === "number"
    ? Number.isFinite(value)
    : typeof value === "boolean" || (typeof value === "string" && value.isWellFormed());

const SET_SHAPE = 'a set takes {"add": […], "remove": […]}, or a list of what to add';

function setChange(value: JsonValue): SetChange | string {
  if (Array.isArray(value)) return setChange({ add: value });
  if (!isJsonObject(value) || Object.keys(value).some((key) => key !== "add" && key !== "remove")) return SET_SHAPE;
  const { add = [], remove = [] } = value;
  if (!Array.isArray(add) || !Array.isArray(remove)) return SET_SHAPE;
  if (add.length + remove.length > MAX_KEYS_PER_WRITE) return `one write names at most ${MAX_KEYS_PER_WRITE} elements`;
  if (![...add, ...remove].every(isScalar)) return "an element is a text without half characters, a finite number, true or false";
  const added = new Set(add.map((element) => canonicalize(element)));
  const both = remove.find((element) => added.has(canonicalize(element)));
  if (both !== undefined) return `${JSON.stringify(both)} is both added and removed`;
  return { add, remove };
}

function set(name: string, isPresent: (siblings: readonly Sibling[]) => boolean): Crdt {
  return {
    name,
    version: 1,
    columns: ["json"],
    problem(value) {
      const change = setChange(value);
      return typeof change === "string" ? change : null;
    },
    join(state, write) {
      const change = setChange(write.value);
      if (typeof change === "string") throw new TypeError(`${name}: ${change}`);
      // Zero is one element, however it is signed.
      const plain = (element: Scalar): Scalar => (element === 0 ? 0 : element);
      return joinKeys(state, write, [
        ...change.add.map((element) => [plain(element), [true]] as const),
        ...change.remove.map((element) => [plain(element), []] as const),
      ]);
    },
    read: (state) => {
      const entries = entriesOf(state);
      const present = [...entries.keys()].filter((name) => isPresent(entries.get(name)!.register.siblings));
      return present.sort().map((name) => entries.get(name)!.key);
    },
  };
}

const isAdd = ({ value }: Sibling): boolean => (value as Cell).length === 1;

/**
 * A set in which adding an element wins over a removal whose author had not seen that. Shown sorted by canonical JSON. A write is
 * `{"add": ["water"], "remove": ["food"]}`; a plain list stands for what to add.
 */
export const addWinsSet: Crdt = set("addWinsSet", (siblings) => siblings.some(isAdd));

/** The same, but removing wins: for consents and permissions, where what was withdrawn anywhere is withdrawn. */
export const removeWinsSet: Crdt = set("removeWinsSet", (siblings) => siblings.length > 0 && siblings.every(isAdd));

interface MapChange {
  readonly set: JsonObject;
  readonly remove: readonly string[];
}

const MAP_SHAPE = 'a map takes {"set": {"key": value}, "remove": ["key"]}';

function mapChange(value: JsonValue): MapChange | string {
  if (!isJsonObject(value) || Object.keys(value).some((key) => key !== "set" && key !== "remove")) return MAP_SHAPE;
  const { set = {}, remove = [] } = value;
  if (!isJsonObject(set) || !Array.isArray(remove) || !remove.every((key) => typeof key === "string")) return MAP_SHAPE;
  const keys = [...Object.keys(set), ...(remove as string[])];
  if (keys.length > MAX_KEYS_PER_WRITE) return `one write names at most ${MAX_KEYS_PER_WRITE} keys`;
  if (!keys.every((key) => key.isWellFormed())) return "a key holds half a character";
  const both = (remove as string[]).find((key) => Object.hasOwn(set, key));
  if (both !== undefined) return `${JSON.stringify(both)} is both set and removed`;
  return { set, remove: remove as string[] };
}

/**
 * A map each of whose keys goes to the latest write (`lastWriteWins` among those that did not know of each other). Removing a key is a
 * write like any other. A write is `{"set": {"head": "Amina"}, "remove": ["phone"]}`.
 */
export const lwwMap: Crdt = {
  name: "lwwMap",
  version: 1,
  columns: ["json"],
  problem(value) {
    const change = mapChange(value);
    return typeof change === "string" ? change : null;
  },
  join(state, write) {
    const change = mapChange(write.value);
    if (typeof change === "string") throw new TypeError(`lwwMap: ${change}`);
    return joinKeys(state, write, [
      ...Object.entries(change.set).map(([key, value]) => [key, [value]] as const),
      ...change.remove.map((key) => [key, []] as const),
    ]);
  },
  read(state) {
    const shown: [string, JsonValue][] = [];
    for (const { key, register } of entriesOf(state).values()) {
      if (register.siblings.length === 0) continue;
      const [value] = lastWriteWins.resolve(register.siblings, NO_CONTEXT).winner.value as Cell;
      if (value !== undefined) shown.push([key as string, value]);
    }
    // `fromEntries` makes own members, even of "__proto__".
    return Object.fromEntries(shown.sort(([a], [b]) => byText(a, b)));
  },
};

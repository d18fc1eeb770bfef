import { describe, expect, it } from "vitest";
import type { JsonValue, Seq, Vector } from "../../services/core/index.ts";
import {
  type Decision,
  decisionsOf,
  type EntityState,
  type FoldEvent,
  fold,
  NO_CONTEXT,
  problemsOfRule,
  type Reason,
  type ResolveContext,
  rowOf,
  type Sibling,
} from "../../services/merge/engine.ts";
import {
  authorityOf,
  byField,
  type CustomRule,
  clientWins,
  custom,
  defineProjection,
  firstWriteWins,
  json,
  lastWriteWins,
  logOrder,
  manual,
  max,
  min,
  type Projection,
  type Resolver,
  serverWins,
  set,
  sitePriority,
  text,
  union,
  versionCompare,
} from "../../services/merge/index.ts";
import { HUB, JUBA, KAMPALA, NAIROBI, orders, personEvent, seen, type WriteOptions, wrote } from "../support/writes.ts";

interface Example {
  readonly rule: Resolver;
  readonly given: readonly Sibling[];
  readonly shows: JsonValue;
  readonly because: Reason;
  readonly isOpen?: boolean;
  readonly context?: ResolveContext;
}

/** Whatever order the siblings come in. */
function expectExample({ rule, given, shows, because, isOpen, context = NO_CONTEXT }: Example): void {
  for (const siblings of orders(given)) {
    const { winner, reason, merged, isOpen: open } = rule.resolve(siblings, context);
    expect({ shows: merged === undefined ? winner.value : merged, reason, isOpen: open === true }).toEqual({
      shows,
      reason: because,
      isOpen: isOpen === true,
    });
    expect(siblings).toContain(winner);
  }
}
const examples = (name: string, cases: Readonly<Record<string, Example>>): void => {
  describe(name, () => {
    it.each(Object.entries(cases))("%s", (_, example) => expectExample(example));
  });
};

const [early, late] = [wrote(NAIROBI, "early", { hour: 8 }), wrote(JUBA, "late", { hour: 9 })];
const fromTheFuture = wrote(KAMPALA, "2028", { hour: 20_000, clockWrong: true });
const fromThePast = wrote(KAMPALA, "2024", { hour: -20_000, clockWrong: true });

examples("lastWriteWins", {
  "shows what was written later": { rule: lastWriteWins, given: [early, late], shows: "late", because: "later-stamp" },
  "never lets a clock known to be wrong win, however late it says it is": {
    rule: lastWriteWins,
    given: [early, fromTheFuture],
    shows: "early",
    because: "clock-trusted",
  },
  "lets the stamps of the right clocks decide beside a wrong one": {
    rule: lastWriteWins,
    given: [early, late, fromTheFuture],
    shows: "late",
    because: "later-stamp",
  },
  "still decides where all clocks are wrong": {
    rule: lastWriteWins,
    given: [{ ...fromThePast, by: { ...fromThePast.by, origin: JUBA } }, fromTheFuture],
    shows: "2028",
    because: "later-stamp",
  },
  "breaks equal stamps by the origin's name": {
    rule: lastWriteWins,
    given: [wrote(NAIROBI, "n"), wrote(JUBA, "j")],
    shows: "j",
    because: "origin-tie",
  },
  "lets a later clearing of the field stand": {
    rule: lastWriteWins,
    given: [early, wrote(JUBA, null, { hour: 9 })],
    shows: null,
    because: "later-stamp",
  },
});

examples("firstWriteWins", {
  "shows what was written first": { rule: firstWriteWins, given: [early, late], shows: "early", because: "earlier-stamp" },
  "never lets a clock known to be wrong win, however early it says it is": {
    rule: firstWriteWins,
    given: [late, fromThePast],
    shows: "late",
    because: "clock-trusted",
  },
  "breaks equal stamps by the origin's name": {
    rule: firstWriteWins,
    given: [wrote(NAIROBI, "n"), wrote(JUBA, "j")],
    shows: "n",
    because: "origin-tie",
  },
});

const inLog = [wrote(NAIROBI, "at 7", { position: 7, hour: 9 }), wrote(JUBA, "at 9", { position: 9, hour: 8 })];
const pending = wrote(HUB, "not yet sent", { hour: 1 });
examples("logOrder", {
  "shows what reached the hub last, whatever the clocks say": {
    rule: logOrder(),
    given: inLog,
    shows: "at 9",
    because: "later-in-log",
  },
  "shows what reached the hub first": { rule: logOrder("first"), given: inLog, shows: "at 7", because: "earlier-in-log" },
  "shows a device its own pending value, as it will be the last": {
    rule: logOrder(),
    given: [...inLog, pending],
    shows: "not yet sent",
    because: "later-in-log",
  },
  "does not show a pending value where the first counts": {
    rule: logOrder("first"),
    given: [...inLog, pending],
    shows: "at 7",
    because: "earlier-in-log",
  },
  "goes by the clock between two that are pending": {
    rule: logOrder(),
    given: [wrote(NAIROBI, "8 h"), wrote(JUBA, "9 h", { hour: 9 })],
    shows: "9 h",
    because: "later-stamp",
  },
});

const historyOf = (counts: Readonly<Record<string, number>>): ResolveContext => ({
  historyOf: ({ value }) => counts[String(value)] ?? 0,
});
examples("versionCompare", {
  "shows what was written by who had seen more": {
    rule: versionCompare,
    given: [early, late],
    context: historyOf({ early: 4, late: 1 }),
    shows: "early",
    because: "longer-history",
  },
  "goes by the clock where all had seen as much": {
    rule: versionCompare,
    given: [early, late],
    context: historyOf({}),
    shows: "late",
    because: "later-stamp",
  },
  "goes by the clock between those who had seen most": {
    rule: versionCompare,
    given: [early, late, wrote(HUB, "latest", { hour: 10 })],
    context: historyOf({ early: 4, late: 4, latest: 1 }),
    shows: "late",
    because: "longer-history",
  },
});

const kampala = wrote(KAMPALA, "kampala");
const hub = wrote(HUB, "hub");
examples("sitePriority", {
  "shows what the site named first wrote": {
    rule: sitePriority(["kampala", "nairobi"]),
    given: [early, kampala, late],
    shows: "kampala",
    because: "site-priority",
  },
  "puts sites that are not named last": {
    rule: sitePriority(["kampala"]),
    given: [kampala, late],
    shows: "kampala",
    because: "site-priority",
  },
  "takes a site with its organisation, so that another's site of that name has no priority": {
    rule: sitePriority(["relief.juba", "nairobi"]),
    given: [early, late],
    shows: "early",
    because: "site-priority",
  },
  "goes by the clock between two tablets of one site": {
    rule: sitePriority(["kampala"]),
    given: [kampala, { ...wrote(KAMPALA, "second tablet", { hour: 9, seq: 4 }) }, late],
    shows: "second tablet",
    because: "site-priority",
  },
  "goes by the clock where no site is named": {
    rule: sitePriority(["gulu"]),
    given: [early, late],
    shows: "late",
    because: "later-stamp",
  },
});
examples("serverWins and clientWins", {
  "show what the hub's people wrote": { rule: serverWins, given: [hub, late], shows: "hub", because: "site-priority" },
  "show what sites wrote": {
    rule: clientWins,
    given: [late, wrote(HUB, "hub", { hour: 12 })],
    shows: "late",
    because: "site-priority",
  },
  "go by the clock between sites (serverWins)": { rule: serverWins, given: [early, late], shows: "late", because: "later-stamp" },
  "go by the clock between sites (clientWins)": {
    rule: clientWins,
    given: [early, late, wrote(HUB, "hub", { hour: 12 })],
    shows: "late",
    because: "site-priority",
  },
});

const quality = (value: string, quality: JsonValue, options: WriteOptions = {}): Sibling =>
  wrote(value === "a" ? NAIROBI : value === "b" ? JUBA : HUB, value, { ...options, read: { quality } });
examples("byField", {
  "shows what comes with the greatest of another field": {
    rule: byField("quality", "max"),
    given: [quality("a", 3), quality("b", 10, { hour: 1 })],
    shows: "b",
    because: "field-priority",
  },
  "shows what comes with the least": {
    rule: byField("quality", "min"),
    given: [quality("a", 3), quality("b", 10, { hour: 9 })],
    shows: "a",
    because: "field-priority",
  },
  "lets nothing lose against anything, also where the least counts": {
    rule: byField("quality", "min"),
    given: [quality("a", null, { hour: 12 }), quality("b", 10)],
    shows: "b",
    because: "field-priority",
  },
  "goes by the clock where both are the same": {
    rule: byField("quality", "max"),
    given: [quality("a", "good"), quality("b", "good", { hour: 9 })],
    shows: "b",
    because: "later-stamp",
  },
  "compares numbers by size, not by their text": {
    rule: byField("quality", "max"),
    given: [quality("a", 9), quality("b", 10)],
    shows: "b",
    because: "field-priority",
  },
});

examples("max and min", {
  "show the greatest number": { rule: max, given: [wrote(NAIROBI, 9), wrote(JUBA, 10)], shows: 10, because: "greater" },
  "show the least number": { rule: min, given: [wrote(NAIROBI, 9), wrote(JUBA, -10)], shows: -10, because: "lesser" },
  "show the later day": {
    rule: max,
    given: [wrote(NAIROBI, "2026-05-03"), wrote(JUBA, "2025-12-31")],
    shows: "2026-05-03",
    because: "greater",
  },
  "let nothing lose where the greatest counts": {
    rule: max,
    given: [wrote(NAIROBI, null), wrote(JUBA, -1)],
    shows: -1,
    because: "greater",
  },
  "let nothing lose where the least counts": {
    rule: min,
    given: [wrote(NAIROBI, null), wrote(JUBA, 5)],
    shows: 5,
    because: "lesser",
  },
  "take a nought for a value": { rule: max, given: [wrote(NAIROBI, null), wrote(JUBA, 0)], shows: 0, because: "greater" },
  "do not look at clocks, not even wrong ones": {
    rule: max,
    given: [wrote(NAIROBI, 1), wrote(JUBA, 2, { clockWrong: true })],
    shows: 2,
    because: "greater",
  },
});

examples("union", {
  "shows what any of them listed, each once, in a fixed order": {
    rule: union,
    given: [wrote(NAIROBI, ["water", "tent"]), wrote(JUBA, ["soap", "water"])],
    shows: ["soap", "tent", "water"],
    because: "merged",
  },
  "takes a single value for a list of one, and nothing for an empty one": {
    rule: union,
    given: [wrote(NAIROBI, "tent"), wrote(JUBA, ["soap"]), wrote(HUB, null)],
    shows: ["soap", "tent"],
    because: "merged",
  },
  "knows an object again, whatever the order of its members": {
    rule: union,
    given: [wrote(NAIROBI, [{ a: 1, b: 2 }]), wrote(JUBA, [{ b: 2, a: 1 }, 7])],
    shows: [7, { a: 1, b: 2 }],
    because: "merged",
  },
});

examples("manual", {
  "asks a person, and shows the latest meanwhile": {
    rule: manual,
    given: [early, late],
    shows: "late",
    because: "awaits-person",
    isOpen: true,
  },
  "shows no value of a wrong clock meanwhile": {
    rule: manual,
    given: [early, fromTheFuture],
    shows: "early",
    because: "awaits-person",
    isOpen: true,
  },
});

const doctors = authorityOf({ actors: ["dr-akello"] });
const byDoctor = wrote(NAIROBI, "A+", { actor: "dr-akello", hour: 1 });
examples("authorityOf", {
  "shows what the person with the say wrote, however early": {
    rule: doctors,
    given: [byDoctor, wrote(JUBA, "B+", { hour: 9 })],
    shows: "A+",
    because: "authority",
  },
  "knows organisations": {
    rule: authorityOf({ orgs: ["shelter"] }),
    given: [wrote(JUBA, "j"), hub],
    shows: "j",
    because: "authority",
  },
  "knows sites with and without their organisation": {
    rule: authorityOf({ sites: ["relief.kampala", "gulu"] }),
    given: [kampala, late],
    shows: "kampala",
    because: "authority",
  },
  "decides otherwise where nobody has the say": { rule: doctors, given: [early, late], shows: "late", because: "later-stamp" },
  "decides otherwise between several who have it, and says that the others had it not": {
    rule: authorityOf({ actors: ["dr-akello"] }, firstWriteWins),
    given: [byDoctor, wrote(KAMPALA, "0", { actor: "dr-akello", hour: 5 }), late],
    shows: "A+",
    because: "authority",
  },
  "decides otherwise where all have the say": {
    rule: authorityOf({ orgs: ["relief"] }, firstWriteWins),
    given: [wrote(KAMPALA, "k", { hour: 5 }), wrote(NAIROBI, "n", { hour: 6 })],
    shows: "k",
    because: "earlier-stamp",
  },
  "merges only what those with the say wrote": {
    rule: authorityOf({ orgs: ["relief"] }, union),
    given: [wrote(KAMPALA, ["k"]), wrote(NAIROBI, ["n"]), wrote(JUBA, ["j"])],
    shows: ["k", "n"],
    because: "authority",
  },
  "asks a person only where those with the say disagree": {
    rule: authorityOf({ orgs: ["relief"] }, manual),
    given: [wrote(KAMPALA, "k"), wrote(NAIROBI, "n", { hour: 9 }), wrote(JUBA, "j")],
    shows: "n",
    because: "authority",
    isOpen: true,
  },
  "asks nobody where those with the say agree": {
    rule: authorityOf({ orgs: ["relief"] }, manual),
    given: [wrote(KAMPALA, "k"), wrote(NAIROBI, "k"), wrote(JUBA, "j")],
    shows: "k",
    because: "authority",
  },
});

// ── rules of the project's own ──────────────────────────────────────────────

const ruleOf = (resolve: CustomRule["resolve"]): Resolver => custom({ name: "ours", version: 1, resolve });
const shortest = ruleOf((siblings) => ({
  winner: siblings.reduce((a, b) => (String(a.value).length <= String(b.value).length ? a : b)),
}));
const shortestByName = ruleOf((siblings) => ({
  winner: siblings.reduce((a, b) =>
    `${String(a.value).length} ${a.by.origin}` < `${String(b.value).length} ${b.by.origin}` ? a : b,
  ),
}));
const three = [wrote(NAIROBI, "aa"), wrote(JUBA, "bb"), wrote(HUB, "c")];

/** Takes another each time it is asked. */
const moody = (): CustomRule["resolve"] => {
  let asked = 0;
  return (all) => {
    const wanted = asked++ % 2 === 0 ? "aa" : "bb";
    return { winner: all.find(({ value }) => value === wanted)! };
  };
};

describe("a rule of the project's own", () => {
  it("picks the value that it says", () => expectExample({ rule: shortestByName, given: three, shows: "c", because: "custom" }));

  it("makes a value of all, or asks a person", () => {
    const joined = ruleOf((siblings) => ({
      winner: siblings.reduce((a, b) => (a.by.origin < b.by.origin ? a : b)),
      merged: siblings
        .map(({ value }) => value as string)
        .sort()
        .join(" or "),
      isOpen: true,
    }));
    expectExample({ rule: joined, given: three, shows: "aa or bb or c", because: "custom", isOpen: true });
  });

  it.each<[string, CustomRule["resolve"], RegExp]>([
    ["picks by order", ([first]) => ({ winner: first! }), /ours depends on the order/],
    [
      "merges by order",
      (all) => ({ winner: all.find(({ value }) => value === "c")!, merged: all.map(({ value }) => value) }),
      /order/,
    ],
    [
      "asks a person by order",
      (all) => ({ winner: all.find(({ value }) => value === "c")!, isOpen: all[0]!.value === "aa" }),
      /order/,
    ],
    ["picks what nobody wrote", () => ({ winner: wrote(KAMPALA, "mine") }), /ours picks a value that is not one of the siblings/],
    ["picks a copy", (all) => ({ winner: { ...all[0]! } }), /not one of the siblings/],
  ])("is refused when it %s, and named", (_, resolve, says) => {
    expect(() => ruleOf(resolve).resolve(three, NO_CONTEXT)).toThrow(says);
    expect(() => ruleOf(resolve).resolve(three, NO_CONTEXT)).toThrow(expect.objectContaining({ code: "projection-failed" }));
  });

  it("is refused when it answers differently each time", () => {
    expect(() => ruleOf(moody()).resolve(three, NO_CONTEXT)).toThrow(/ours/);
  });

  it("cannot disturb what it is given, though it sorts it", () => {
    const given = [...three];
    const sorting = ruleOf((all) => ({
      winner: (all as Sibling[]).sort((a, b) => (String(a.value) < String(b.value) ? -1 : 1))[0]!,
    }));
    expectExample({ rule: sorting, given, shows: "aa", because: "custom" });
    expect(given).toEqual(three);
  });

  it("is another rule when it reads another member, though its text is the same", () => {
    const resolve: CustomRule["resolve"] = (all) => ({ winner: all[0]! });
    const [a, b] = ["quality", "age"].map((member) => custom({ name: "ours", version: 1, reads: [member], resolve }));
    expect(a!.settings).not.toEqual(b!.settings);
  });
});

describe("problemsOfRule", () => {
  const sets = [three, three.slice(0, 2)];

  it("finds a rule that depends on the order, and names the values", () => {
    expect(problemsOfRule(shortest, sets)).toEqual(
      expect.arrayContaining([expect.stringContaining("ours depends on the order of the siblings")]),
    );
    const middle: Resolver = { name: "middle", version: 1, resolve: (all) => ({ winner: all[1]!, reason: "custom" }) };
    expect(problemsOfRule(middle, [three])).toEqual(['middle depends on the order of "aa", "bb", "c"']);
  });

  it("finds a rule that answers differently when asked twice", () => {
    const pick = moody();
    const rule: Resolver = { name: "moody", version: 1, resolve: (all) => ({ ...pick(all), reason: "custom" }) };
    expect(problemsOfRule(rule, sets)).toContain("moody answers differently when asked twice");
  });

  it("finds a rule that picks what nobody wrote", () => {
    const foreign: Resolver = { name: "foreign", version: 1, resolve: () => ({ winner: early, reason: "custom" }) };
    expect(problemsOfRule(foreign, sets)).toEqual(["foreign picks a value that is not one of the siblings"]);
    expect(
      problemsOfRule(
        ruleOf(() => ({ winner: early })),
        sets,
      ),
    ).toEqual([expect.stringContaining("not one of the siblings")]);
  });

  it("finds a rule that throws, and says with what", () => {
    const broken = ruleOf(() => {
      throw new Error("no value is a number");
    });
    expect(problemsOfRule(broken, sets)).toEqual(["Error: no value is a number"]);
  });

  it("finds a rule whose reason or whose question to a person depends on the order", () => {
    const reason: Resolver = {
      name: "reason",
      version: 1,
      resolve: (all) => ({ winner: three[2]!, reason: all[0] === three[2] ? "greater" : "lesser" }),
    };
    expect(problemsOfRule(reason, [three])).toEqual([expect.stringContaining("depends on the order")]);
  });

  it.each<Resolver>([
    lastWriteWins,
    firstWriteWins,
    logOrder(),
    logOrder("first"),
    versionCompare,
    sitePriority(["juba"]),
    serverWins,
    clientWins,
    byField("quality", "max"),
    byField("quality", "min"),
    max,
    min,
    union,
    manual,
    authorityOf({ orgs: ["relief"] }, versionCompare),
    shortestByName,
  ])("finds nothing wrong with $name", (rule) => {
    const mixed = [wrote(NAIROBI, 9), wrote(JUBA, "9"), wrote(HUB, null), wrote(KAMPALA, [9]), wrote(NAIROBI, true, { seq: 3 })];
    expect(problemsOfRule(rule, [three, mixed, inLog, [...inLog, pending], [early, late, fromTheFuture]])).toEqual([]);
  });
});

// ── in a view ───────────────────────────────────────────────────────────────

const EVENTS = { "person.updated": set() };
const foldAll = (view: Projection, events: readonly FoldEvent[]): EntityState =>
  events.reduce<EntityState | undefined>((state, event) => fold(view, state, event)!.state, undefined)!;
/** The row's value and the decision on it, the same in any order of arrival. */
function shown(view: Projection, events: readonly FoldEvent[]): { value: JsonValue; decision: Decision | undefined } {
  const [state, ...others] = orders(events).map((order) => foldAll(view, order));
  for (const other of others) expect(other).toEqual(state);
  return { value: rowOf(view, state!).values.blood_group!, decision: decisionsOf(view, state!)[0] };
}

describe("a field over which somebody has the say", () => {
  const view = defineProjection({
    name: "people",
    entity: "person",
    columns: { blood_group: text(), name: text() },
    authority: { blood_group: { actors: ["dr-akello"] } },
    events: EVENTS,
  });
  const measured = personEvent(NAIROBI, "person.updated", { blood_group: "A+" }, { actor: "dr-akello" });
  const corrected = personEvent(JUBA, "person.updated", { blood_group: "B+" }, { hour: 9, basis: seen(measured) });

  it("keeps the value of who has it, though another changes it knowingly; the other's stands as one that lost", () => {
    const { value, decision } = shown(view, [measured, corrected]);
    expect(value).toBe("A+");
    expect(decision).toMatchObject({ reason: "authority", losers: [{ value: "B+" }], isOpen: false });
  });

  it("keeps it through any number of changes by others, of which only the last stands beside it", () => {
    const again = personEvent(KAMPALA, "person.updated", { blood_group: "0" }, { hour: 10, basis: seen(measured, corrected) });
    const { value, decision } = shown(view, [measured, corrected, again]);
    expect(value).toBe("A+");
    expect(decision!.losers.map(({ value }) => value)).toEqual(["0"]);
  });

  it("takes a change by who has the say, and drops what that person had seen", () => {
    const settled = personEvent(
      NAIROBI,
      "person.updated",
      { blood_group: "AB" },
      { seq: 1, actor: "dr-akello", basis: seen(corrected) },
    );
    const { value, decision } = shown(view, [measured, corrected, settled]);
    expect(value).toBe("AB");
    expect(decision).toBeUndefined();
  });

  it("holds on one shared tablet: the next person's change does not displace the doctor's", () => {
    const sameTablet = personEvent(NAIROBI, "person.updated", { blood_group: "B+" }, { seq: 1, hour: 9, basis: seen(measured) });
    const { value, decision } = shown(view, [measured, sameTablet]);
    expect(value).toBe("A+");
    expect(decision!.losers.map(({ by }) => by.seq)).toEqual([1]);
  });

  it("takes a person's decision on the conflict only from who has the say", () => {
    const decided = (actor: string): FoldEvent =>
      personEvent(
        HUB,
        "conflict.resolved",
        { values: { blood_group: "B+" } },
        { actor, hour: 10, basis: seen(measured, corrected) },
      );
    expect(shown(view, [measured, corrected, decided("grace")]).value).toBe("A+");
    expect(shown(view, [measured, corrected, decided("dr-akello")])).toMatchObject({ value: "B+", decision: undefined });
  });

  it("leaves the record's other fields to all", () => {
    const named = personEvent(JUBA, "person.updated", { name: "Amina" }, { basis: seen(measured) });
    expect(rowOf(view, foldAll(view, [measured, named])).values).toEqual({ blood_group: "A+", name: "Amina" });
  });
});

describe("a rule in a view", () => {
  const viewOf = (rule: Resolver, column: ReturnType<typeof text> | ReturnType<typeof json> = text()): Projection =>
    defineProjection({
      name: "people",
      entity: "person",
      columns: { blood_group: column },
      resolve: { others: rule },
      events: EVENTS,
    });

  it.each([union, ruleOf((all) => ({ winner: all[0]!, merged: "made up" }))])(
    "is not asked where all wrote the same: what they wrote is shown ($name)",
    (rule) => {
      const events = [NAIROBI, JUBA].map((origin) => personEvent(origin, "person.updated", { blood_group: ["b", "a", "b"] }));
      expect(shown(viewOf(rule, json()), events)).toEqual({ value: ["b", "a", "b"], decision: undefined });
      expect(shown(viewOf(rule, json()), events.slice(1)).value).toEqual(["b", "a", "b"]);
    },
  );

  it("looks at the member that it names, of each event", () => {
    const events = [
      personEvent(NAIROBI, "person.updated", { blood_group: "A+", quality: 2 }),
      personEvent(JUBA, "person.updated", { blood_group: "B+", quality: 1 }, { hour: 9 }),
      personEvent(HUB, "person.updated", { blood_group: "0" }, { hour: 10 }),
    ];
    expect(shown(viewOf(byField("quality", "max")), events)).toMatchObject({
      value: "A+",
      decision: { reason: "field-priority" },
    });
    expect(shown(viewOf(byField("quality", "min")), events)).toMatchObject({
      value: "B+",
      decision: { reason: "field-priority" },
    });
  });

  it("counts what each author had seen of the person, their own writes among it", () => {
    const first = personEvent(NAIROBI, "person.updated", { blood_group: "A" });
    const second = personEvent(NAIROBI, "person.updated", { blood_group: "A+" }, { seq: 4 });
    const third = personEvent(JUBA, "person.updated", { blood_group: "B+" }, { hour: 9, basis: seen(first) });
    const fourth = personEvent(NAIROBI, "person.updated", { blood_group: "A-" }, { seq: 6 });
    expect(shown(viewOf(versionCompare), [first, second, third, fourth])).toMatchObject({
      value: "A-",
      decision: { reason: "longer-history", losers: [{ value: "B+" }] },
    });
  });

  it("lets a device's own value find its place once the hub has given it one, and the hub's finding about its clock", () => {
    const other = personEvent(JUBA, "person.updated", { blood_group: "B+" }, { position: 50 });
    const mine = personEvent(NAIROBI, "person.updated", { blood_group: "A+" }, { hour: 9 });
    const receipt = { ...mine, position: 40 };
    expect(shown(viewOf(logOrder()), [other, mine]).value).toBe("A+");
    expect(shown(viewOf(logOrder()), [other, mine, receipt]).value).toBe("B+");
    expect(shown(viewOf(lastWriteWins), [other, mine, { ...receipt, clockWrong: true }])).toMatchObject({
      value: "B+",
      decision: { reason: "clock-trusted" },
    });
  });

  it("stops the fold with a name where it breaks its word, rather than show what replicas would not agree on", () => {
    const view = viewOf(ruleOf(([first]) => ({ winner: first! })));
    const state = foldAll(
      view,
      [NAIROBI, JUBA].map((origin) => personEvent(origin, "person.updated", { blood_group: origin })),
    );
    expect(() => rowOf(view, state)).toThrow(/ours depends on the order/);
    expect(() => decisionsOf(view, state)).toThrow(expect.objectContaining({ code: "projection-failed" }));
  });

  it("cannot show what its column cannot hold", () => {
    const view = viewOf(ruleOf((all) => ({ winner: all.find(({ by }) => by.origin === JUBA)!, merged: 7 })));
    const state = foldAll(
      view,
      [NAIROBI, JUBA].map((origin) => personEvent(origin, "person.updated", { blood_group: origin })),
    );
    expect(() => rowOf(view, state)).toThrow(/7 does not fit people\.blood_group, a text column/);
  });
});

it("NO_CONTEXT tells a rule that counts history to say so", () => {
  expect(() =>
    versionCompare.resolve(
      three.map((each, i) => ({ ...each, basis: { [JUBA]: i as Seq } as Vector })),
      NO_CONTEXT,
    ),
  ).toThrow("needsHistory");
});

import { describe, expect, it } from "vitest";
import type { JsonValue, Seq, Vector } from "../../services/core/index.ts";
import { NO_CONTEXT, type ResolveContext, type Sibling } from "../../services/merge/engine.ts";
import {
  authorityOf,
  byField,
  clientWins,
  firstWriteWins,
  lastWriteWins,
  logOrder,
  manual,
  max,
  min,
  serverWins,
  sitePriority,
  union,
  versionCompare,
} from "../../services/merge/index.ts";
import { type Example, early, expectExample, fromTheFuture, fromThePast, inLog, late, pending, three } from "../support/rules.ts";
import { HUB, JUBA, KAMPALA, NAIROBI, type WriteOptions, wrote } from "../support/writes.ts";

const examples = (name: string, cases: Readonly<Record<string, Example>>): void => {
  describe(name, () => {
    it.each(Object.entries(cases))("%s", (_, example) => expectExample(example));
  });
};

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

examples("logOrder", {
  "shows what reached the hub last, whatever the clocks say": {
    rule: logOrder(),
    given: inLog,
    shows: "at 9",
    because: "later-in-log",
  },
  "shows what reached the hub first": { rule: logOrder("first"), given: inLog, shows: "at 7", because: "earlier-in-log" },
  "shows a device its own pending value, because it will be the last": {
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

it("logOrder names the hub that it follows in what a decision says, and is another rule only where it names one", () => {
  const hub = "coastaaaaaaa";
  expect(logOrder("last", { hub })).toMatchObject({ name: "logOrder of hub coastaaaaaaa", version: 1 });
  expect(logOrder("first", { hub }).name).toBe("firstInLog of hub coastaaaaaaa");
  expect(authorityOf({ orgs: ["relief"] }, logOrder("last", { hub })).name).toBe("authority, then logOrder of hub coastaaaaaaa");
  expect([logOrder().name, logOrder("first").name, authorityOf({ orgs: ["relief"] }, logOrder()).name]).toEqual([
    "logOrder",
    "firstInLog",
    "authority",
  ]);
  for (const wrong of ["kampala", "", "COASTAAAAAAA"])
    expect(() => logOrder("last", { hub: wrong })).toThrow(expect.objectContaining({ code: "projection-malformed" }));
});

const historyOf = (counts: Readonly<Record<string, number>>): ResolveContext => ({
  historyOf: ({ value }) => counts[String(value)] ?? 0,
});
examples("versionCompare", {
  "shows what was written by the author who had seen more": {
    rule: versionCompare,
    given: [early, late],
    context: historyOf({ early: 4, late: 1 }),
    shows: "early",
    because: "longer-history",
  },
  "goes by the clock where all authors had seen as much": {
    rule: versionCompare,
    given: [early, late],
    context: historyOf({}),
    shows: "late",
    because: "later-stamp",
  },
  "goes by the clock between the authors who had seen most": {
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
  "shows what comes with the greatest value of another field": {
    rule: byField("quality", "max"),
    given: [quality("a", 3), quality("b", 10, { hour: 1 })],
    shows: "b",
    because: "field-priority",
  },
  "shows what comes with the least value": {
    rule: byField("quality", "min"),
    given: [quality("a", 3), quality("b", 10, { hour: 9 })],
    shows: "a",
    because: "field-priority",
  },
  "lets an empty value lose against any other, also where the least counts": {
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
  "let an empty value lose where the greatest counts": {
    rule: max,
    given: [wrote(NAIROBI, null), wrote(JUBA, -1)],
    shows: -1,
    because: "greater",
  },
  "let an empty value lose where the least counts": {
    rule: min,
    given: [wrote(NAIROBI, null), wrote(JUBA, 5)],
    shows: 5,
    because: "lesser",
  },
  "take zero for a value": { rule: max, given: [wrote(NAIROBI, null), wrote(JUBA, 0)], shows: 0, because: "greater" },
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
  "takes a single value for a list of one, and an empty value for an empty list": {
    rule: union,
    given: [wrote(NAIROBI, "tent"), wrote(JUBA, ["soap"]), wrote(HUB, null)],
    shows: ["soap", "tent"],
    because: "merged",
  },
  "recognises the same object, whatever the order of its members": {
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
  "goes by its other rule where nobody has the say": {
    rule: doctors,
    given: [early, late],
    shows: "late",
    because: "later-stamp",
  },
  "goes by its other rule between several who have the say, and says that the rest did not have it": {
    rule: authorityOf({ actors: ["dr-akello"] }, firstWriteWins),
    given: [byDoctor, wrote(KAMPALA, "0", { actor: "dr-akello", hour: 5 }), late],
    shows: "A+",
    because: "authority",
  },
  "goes by its other rule where all have the say": {
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

it("NO_CONTEXT tells the author of a rule that counts history to declare that it does", () => {
  expect(() =>
    versionCompare.resolve(
      three.map((each, i) => ({ ...each, basis: { [JUBA]: i as Seq } as Vector })),
      NO_CONTEXT,
    ),
  ).toThrow("needsHistory");
});

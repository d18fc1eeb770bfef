import { describe, expect, it } from "vitest";
import {
  type Crdt,
  checkViews,
  closureOf,
  columnsOf,
  inOrder,
  type Projection,
  rowWith,
  type SqlView,
  type Totals,
  tablesOf,
  type View,
} from "../../services/merge/engine.ts";
import {
  authorityOf,
  date,
  decimal,
  defineJoin,
  defineProjection,
  defineSql,
  defineTotals,
  deleteWins,
  integer,
  json,
  lastWriteWins,
  number,
  set,
  text,
  union,
  updateWins,
} from "../../services/merge/index.ts";

const columns = { name: text(), phone: text(), tags: json() };
const events = { "person.registered": set() };
const base = { name: "people", entity: "person", columns, events };
const counter: Crdt = {
  name: "counter",
  version: 1,
  columns: ["json", "text"],
  problem: () => null,
  join: (state) => state ?? 0,
  read: (state) => state,
};

/** Declarations as JavaScript may hold them; what the types refuse must be refused without them too. */
type Wrong = Readonly<Record<string, unknown>>;
const expectRefused = (define: (declared: never) => unknown, declared: Wrong, says: string | RegExp): void => {
  expect(() => define(declared as never)).toThrow(says);
  expect(() => define(declared as never)).toThrow(expect.objectContaining({ code: "projection-malformed" }));
  const { name } = declared;
  if (typeof name === "string") expect(() => define(declared as never)).toThrow(`projection ${name}:`);
};
type Refusals = Readonly<Record<string, readonly [declared: Wrong, says: string | RegExp]>>;
const refusals = (title: string, define: (declared: never) => unknown, cases: Refusals): void => {
  describe(title, () => {
    it.each(Object.entries(cases))("refuses %s", (_, [declared, says]) => expectRefused(define, declared, says));
  });
};

refusals("a projection", defineProjection, {
  "a name that no table can have": [{ ...base, name: "People" }, '"People" is not a valid name'],
  "a name that is too long": [{ ...base, name: `p${"x".repeat(51)}` }, "at most 51"],
  "a column that is not a valid name": [{ ...base, columns: { "given-name": text() } }, '"given-name" is not a valid name'],
  "a column that every object has already": [{ ...base, columns: { constructor: text() } }, '"constructor" is not a valid name'],
  "a column that every view has": [{ ...base, columns: { waiting_for: text() } }, "a column waiting_for already"],
  "a derived column that every view has": [
    { ...base, derive: { state: { column: text(), of: () => null } } },
    "a column state already",
  ],
  "a group that is not a valid name": [{ ...base, groups: { "Where?": ["name", "phone"] } }, '"Where?" is not a valid name'],
  "a table that is not a valid name": [
    { ...base, tables: { Children: { columns: {}, rows: () => [] } } },
    '"Children" is not a valid name',
  ],
  "an invariant that is not a valid name": [
    { ...base, invariants: { "One!": { problem: () => null } } },
    '"One!" is not a valid name',
  ],
  "a column both written and derived": [
    { ...base, derive: { phone: { column: text(), of: () => null } } },
    "column phone is both written by events and derived",
  ],
  "a table with a column of a bad name": [
    { ...base, tables: { tags: { columns: { Tag: text() }, rows: () => [] } } },
    'table tags cannot have a column "Tag"',
  ],
  "a table with a column that all have": [
    { ...base, tables: { tags: { columns: { n: text() }, rows: () => [] } } },
    'table tags cannot have a column "n"',
  ],
  "an invariant that allows no row": [
    { ...base, invariants: { once: { atMost: 0, says: "", key: () => null } } },
    "invariant once allows at most 0",
  ],
  "an invariant that allows one and a half": [
    { ...base, invariants: { once: { atMost: 1.5, says: "", key: () => null } } },
    "invariant once allows at most 1.5",
  ],
  "a group with the name of a column": [{ ...base, groups: { name: ["phone", "tags"] } }, "group name has the name of a column"],
  "a group called deleted": [{ ...base, groups: { deleted: ["name", "phone"] } }, "group deleted has the name"],
  "a group called record": [{ ...base, groups: { record: ["name", "phone"] } }, "group record has the name"],
  "a group of one": [{ ...base, groups: { contact: ["phone"] } }, "group contact needs two columns or more"],
  "a group that names no column": [{ ...base, groups: { contact: ["phone", "fax"] } }, "group contact names a column fax"],
  "a column in two groups": [
    { ...base, groups: { contact: ["phone", "name"], both: ["name", "tags"] } },
    "column name is in two groups",
  ],
  "groups in a record that changes as a whole": [
    { ...base, whole: true, groups: { contact: ["phone", "name"] } },
    "a record that changes as a whole cannot have groups",
  ],
  "a column called record in a record that changes as a whole": [
    { ...base, whole: true, columns: { record: text() } },
    "cannot have a column record",
  ],
  "a rule for what is not a register": [
    { ...base, resolve: { fone: lastWriteWins } },
    "a resolver for fone, which is not a register",
  ],
  "a rule for one column of a group": [
    { ...base, groups: { contact: ["phone", "name"] }, resolve: { phone: lastWriteWins } },
    "a resolver for phone, which is not a register",
  ],
  "a rule for one column of a whole record": [
    { ...base, whole: true, resolve: { phone: lastWriteWins } },
    "a resolver for phone, which is not a register",
  ],
  "the say over what is not a register": [{ ...base, authority: { fone: {} } }, "an authority for fone, which is not a register"],
  "the say over all others": [{ ...base, authority: { others: {} } }, "an authority for others, which is not a register"],
  "union for a text": [{ ...base, resolve: { name: union } }, "name cannot be decided by union: only a json() column can"],
  "union for all others, a text among them": [{ ...base, resolve: { others: union } }, "name cannot be decided by union"],
  "union for a group": [
    { ...base, groups: { contact: ["phone", "tags"] }, resolve: { contact: union } },
    "contact cannot be decided by union",
  ],
  "union for a whole record": [{ ...base, whole: true, resolve: { record: union } }, "record cannot be decided by union"],
  "union for what is there and what is not": [{ ...base, resolve: { deleted: union } }, "deleted cannot be decided by union"],
  "union behind an authority, too": [
    { ...base, resolve: { name: authorityOf({}, union) } },
    "name cannot be decided by authority: only a json() column can",
  ],
  "deleteWins for a value": [
    { ...base, resolve: { name: deleteWins } },
    "name cannot be decided by deleteWins: only deleted can",
  ],
  "updateWins for all others": [{ ...base, resolve: { others: updateWins } }, "cannot be decided by updateWins"],
  "a group that should merge by itself": [
    { ...base, groups: { contact: ["phone", "name"] }, resolve: { contact: counter } },
    "contact cannot merge by counter: only a single column can",
  ],
  "a deletion that should merge by itself": [{ ...base, resolve: { deleted: counter } }, "deleted cannot merge by counter"],
  "the say over what merges all": [
    { ...base, resolve: { tags: counter }, authority: { tags: {} } },
    "tags merges all that is written, so nobody can have the say over it",
  ],
  "news of what is not a register": [
    { ...base, notify: { fone: ["desk"] } },
    "notifies of fone, which is neither a register nor an invariant",
  ],
  "a view that no event writes": [{ ...base, events: {} }, "no event writes it"],
  "a meaning of its own for conflict.resolved": [
    { ...base, events: { "conflict.resolved": set() } },
    "conflict.resolved already has a meaning",
  ],
  "an event that sets a column that is not there": [
    { ...base, events: { "person.registered": set("nome") } },
    "person.registered sets a column nome",
  ],
});

const sum = {
  name: "by_site",
  keys: { site: text() },
  sums: { amount: decimal() },
  from: { people: () => ({ site: "juba", amount: 1 }) },
};
refusals("totals", defineTotals, {
  "a bad name": [{ ...sum, name: "By Site" }, '"By Site" is not a valid name'],
  "a key that every view has": [{ ...sum, keys: { id: text() } }, "a column id already"],
  "no key": [{ ...sum, keys: {} }, "totals need a key and a sum"],
  "no sum": [{ ...sum, sums: {} }, "totals need a key and a sum"],
  "a column rows": [{ ...sum, sums: { rows: integer() } }, "all totals have a column rows already"],
  "a column that is key and sum": [{ ...sum, sums: { site: integer() } }, "column site is both key and sum"],
  "a sum that does not add up exactly": [{ ...sum, sums: { amount: number() } }, "sum amount is number"],
  "a sum of texts": [{ ...sum, sums: { amount: text() } }, "sum amount is text"],
  "an invariant over several rows": [
    { ...sum, invariants: { once: { atMost: 1, says: "", key: () => null } } },
    "invariant once: totals take a problem of each row only",
  ],
  "an invariant that is not a valid name": [
    { ...sum, invariants: { "Once!": { problem: () => null } } },
    '"Once!" is not a valid name',
  ],
  "totals that add up nothing": [{ ...sum, from: {} }, "it adds up no view"],
});

const joined = {
  name: "handouts",
  from: "people",
  join: { site: { view: "sites", on: { id: "name" } } },
  columns: { who: "name", title: "site.title" },
};
refusals("a join", defineJoin, {
  "a bad name": [{ ...joined, name: "hand-outs" }, '"hand-outs" is not a valid name'],
  "a column that is not a valid name": [{ ...joined, columns: { Who: "name" } }, '"Who" is not a valid name'],
  "an alias that is not a valid name": [{ ...joined, join: { "s.": joined.join.site } }, '"s." is not a valid name'],
  "a first view that is not a valid name": [{ ...joined, from: "people; DROP" }, '"people; DROP" is not a valid name'],
  "an alias base, which is taken": [{ ...joined, join: { base: joined.join.site } }, "base is what it calls people"],
  "a column of an alias that is not there": [
    { ...joined, columns: { who: "person.name" } },
    '"person.name" does not name a column of people, site',
  ],
  "a column that is SQL": [{ ...joined, columns: { who: "count(*)" } }, '"count(*)" does not name a column'],
  "a join on an alias that comes later": [
    { ...joined, join: { a: { view: "sites", on: { id: "b.id" } }, b: { view: "sites", on: { id: "name" } } } },
    '"b.id" does not name a column of people',
  ],
  "a join on nothing": [
    { ...joined, join: { site: { view: "sites", on: {} } } },
    "site does not say which columns it is joined on",
  ],
  "a join that shows nothing": [{ ...joined, columns: {} }, "it shows no column"],
});

refusals("a view in SQL", defineSql, {
  "a bad name": [{ name: "Kids", needs: [], sql: "SELECT 1" }, '"Kids" is not a valid name'],
  "a need that is not a valid name": [{ name: "kids", needs: ["x y"], sql: "SELECT 1" }, '"x y" is not a valid name'],
  "SQL that is not a query": [{ name: "kids", needs: [], sql: "DELETE FROM views.people" }, "does not begin with SELECT or WITH"],
});

const people = defineProjection({ ...base, tables: { tags: { columns: { tag: text() }, rows: () => [] } } });
const sites = defineProjection({ ...base, name: "sites", columns: { title: text() }, history: false });
const bySite = defineTotals(sum);
const handouts = defineJoin(joined);
const sql = (name: string, needs: readonly string[] = []): SqlView => defineSql({ name, needs, sql: "SELECT 1" });
const named = (name: string, more: Wrong = {}): Projection => defineProjection({ ...base, name, ...more } as never);

describe("views together", () => {
  it("are accepted if they fit together", () => {
    expect(() => checkViews([handouts, bySite, people, sites, sql("kids", ["handouts"])])).not.toThrow();
  });

  const once = { problem: () => null };
  const wrong: Readonly<Record<string, readonly [views: readonly View[], says: string]>> = {
    "a name twice": [[people, named("people")], "projection people: there is a second view of this name"],
    "a name twice, of different kinds": [[people, sql("people")], "projection people: there is a second view"],
    "a view with the name of another's table": [
      [people, named("people_tags")],
      "people_tags: there is another table people_tags",
    ],
    "a view with the name of another's history": [[people, named("people_history")], "another table people_history"],
    "a table with the name of its view's history": [
      [named("people", { tables: { history: { columns: {}, rows: () => [] } } })],
      "another table people_history",
    ],
    "a table with the name of its view's claims": [
      [named("people", { tables: { claims: { columns: {}, rows: () => [] } }, invariants: { once } })],
      "another table people_claims",
    ],
    "a view in SQL with the name of another's table": [[people, sql("people_tags")], "another table people_tags"],
    "totals of a view that is not there": [[bySite], "projection by_site: it adds up people, which is not a view of entities"],
    "totals of totals": [
      [people, bySite, defineTotals({ ...sum, name: "all", from: { by_site: sum.from.people } })],
      "projection all: it adds up by_site, which is not a view of entities",
    ],
    "a join with a view that is not there": [[people, handouts], "projection handouts: it reads sites, which is not a view"],
    "a join with a column that is not there": [
      [people, sites, defineJoin({ ...joined, columns: { who: "nome" } })],
      "projection handouts: people has no column nome",
    ],
    "a join on a column that is not there": [
      [people, sites, defineJoin({ ...joined, join: { site: { view: "sites", on: { code: "name" } } } })],
      "projection handouts: sites has no column code",
    ],
    "a join that starts from totals, which know of no deletion": [
      [people, bySite, defineJoin({ name: "from_totals", from: "by_site", join: {}, columns: { site: "site" } })],
      "projection from_totals: by_site has no column deleted",
    ],
    "a need that is not there": [[sql("kids", ["children"])], "projection kids: it reads children, which is not a view"],
    "a view that reads itself": [[sql("kids", ["kids"])], "projection kids: it reads itself"],
    "views that read each other": [[sql("a", ["b"]), sql("b", ["a"])], "projection a: it reads itself through a, b"],
  };
  it.each(Object.entries(wrong))("are refused for %s", (_, [views, says]) => {
    expect(() => checkViews(views)).toThrow(says);
    expect(() => checkViews(views)).toThrow(expect.objectContaining({ code: "projection-malformed" }));
  });

  it("in SQL come after those that they read, however they are listed", () => {
    const names = inOrder([sql("c", ["b", "people"]), sql("b", ["a"]), sql("a"), sql("d", ["a"])]).map(({ name }) => name);
    expect(names).toHaveLength(4);
    for (const [before, after] of ["ab", "bc", "ad"]) expect(names.indexOf(before!)).toBeLessThan(names.indexOf(after!));
    expect(inOrder([])).toEqual([]);
  });
});

describe("views that are built together", () => {
  const aid = named("aid");
  const other = named("other");
  const both = defineTotals({ ...sum, name: "both", from: { people: sum.from.people, aid: sum.from.people } });
  const alone = defineTotals({ ...sum, name: "alone", from: { other: sum.from.people } });
  const views: readonly View[] = [handouts, people, aid, other, sites, both, alone];
  const closure = (...names: string[]): string[] => closureOf(views, names).map(({ name }) => name);

  it("are a view alone if nothing adds it up", () => expect(closure("sites")).toEqual(["sites"]));
  it("are totals and all that they add up", () => expect(closure("both")).toEqual(["people", "aid", "both"]));
  it("are a view, the totals of it, and what these add up besides", () =>
    expect(closure("aid")).toEqual(["people", "aid", "both"]));
  it("are families linked by a common view", () => {
    const link = defineTotals({ ...sum, name: "link", from: { aid: sum.from.people, other: sum.from.people } });
    expect(closureOf([...views, link], ["people"]).map(({ name }) => name)).toEqual([
      "people",
      "aid",
      "other",
      "both",
      "alone",
      "link",
    ]);
  });
  it("include neither views of SQL, which need not be built, nor names that no view has", () => {
    expect(closure("handouts", "nothing")).toEqual([]);
    expect(closure()).toEqual([]);
  });
});

describe("what can be read of a view", () => {
  it("is its columns and what every view has", () => {
    expect([...columnsOf(sites)!]).toEqual(expect.arrayContaining(["title", "id", "deleted", "conflicts", "waiting_for"]));
    expect([...columnsOf(bySite)!].sort()).toEqual(["amount", "id", "rows", "site"]);
    expect(columnsOf(handouts)).toBeNull();
  });

  it("is kept in the tables that it names", () => {
    expect(tablesOf(people)).toEqual(["people", "people_tags", "people_history"]);
    expect(tablesOf(sites)).toEqual(["sites"]);
    expect(tablesOf(bySite)).toEqual(["by_site"]);
    expect(tablesOf(handouts)).toEqual([]);
  });

  it("leaves out of a join the rows that are deleted", () => {
    expect(handouts.sql).toBe(
      'SELECT "base"."name" AS "who", "site"."title" AS "title" FROM views."people" "base" LEFT JOIN views."sites" "site" ON "site"."id" = "base"."name" WHERE NOT "base".deleted',
    );
  });
});

describe("what a row adds to totals", () => {
  const adding = (contribution: unknown): Totals => defineTotals({ ...sum, from: { people: () => contribution as never } });
  const row = { id: "p1" };

  it("is no contribution, one or several", () => {
    expect(adding(null).contributions("people", row)).toEqual([]);
    expect(adding({ site: null, amount: 0 }).contributions("people", row)).toHaveLength(1);
    expect(adding([{ site: "juba", amount: 1 }, { site: "yei" }]).contributions("people", row)).toHaveLength(2);
    expect(bySite.contributions("sites", row)).toEqual([]);
  });

  it.each([
    [7, "a contribution is an object"],
    [{ site: 7, amount: 1 }, "key site is 7, not text"],
    [{ site: "juba", amount: "1" }, 'amount amount is "1"'],
    [{ site: "juba", amount: Number.NaN }, "amount amount is null"],
  ])("is refused with the row's name where it is not an amount: %j", (contribution, says) => {
    expect(() => adding(contribution).contributions("people", row)).toThrow(says);
    expect(() => adding(contribution).contributions("people", row)).toThrow("from people/p1");
    expect(() => adding(contribution).contributions("people", row)).toThrow(
      expect.objectContaining({ code: "projection-failed" }),
    );
  });
});

describe("a value in its column", () => {
  it.each([
    [decimal(), Number.NaN, false],
    [decimal(), Number.POSITIVE_INFINITY, false],
    [decimal(), 0.1, true],
    [number(), Number.NaN, false],
    [number(), -1e300, true],
    [integer(), 2 ** 53, false],
    [integer(), -3, true],
    [text(), "a\0b", false],
    [json(), { a: ["a\0b"] }, false],
    [json(), { "a\0b": 1 }, false],
    [json(), "\\\0", false],
    // A text about the escape does not hold U+0000.
    [json(), "write \\u0000 for it", true],
    [date(), "2026-02-29", false],
  ])("fits $sql or does not: %#", (column, value, fits) => {
    expect(column.fits(value)).toBe(fits);
  });

  it("that a function of the declaration made must fit, or the view says which column", () => {
    const derived = (of: () => never): Projection => defineProjection({ ...base, derive: { age: { column: integer(), of } } });
    const state = { registers: {}, merged: {}, seen: {}, referred: {}, dots: null };
    expect(() =>
      rowWith(
        derived(() => 1.5 as never),
        "p1",
        state,
      ),
    ).toThrow("1.5 does not fit people.age, an integer column");
    const tables = (row: object): Projection =>
      defineProjection({ ...base, tables: { tags: { columns: { tag: text() }, rows: () => [row as never] } } });
    expect(() => rowWith(tables({ tag: 7 }), "p1", state)).toThrow("7 does not fit people_tags.tag, a text column");
    expect(() => rowWith(tables({ tug: "x" }), "p1", state)).toThrow('"x" does not fit people_tags.tug, a missing column');
    expect(rowWith(tables({ tag: "x" }), "p1", state).tables).toEqual({ tags: [{ tag: "x" }] });
  });
});

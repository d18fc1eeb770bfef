import { expect, it } from "vitest";
import { decodePage, encodePage, type Page } from "../../services/exchange/protocol/index.ts";
import { reading, writing } from "../support/page-of.ts";
import { expectSame, pulling, replicaOf } from "../support/pull.ts";
import { hubWith, KAMPALA, number, openAt, policyOf, registered, updated } from "../support/replicas.ts";
import { saidIn } from "../support/serving.ts";

const twoDistricts = [
  policyOf("kampala", ["kampala"], { district: "Kampala" }),
  policyOf("nairobi", ["kampala", "nairobi"], { district: "Nairobi" }),
];

it("a device that was away is not sent what others wrote of somebody who has left since, and needs no comparison to know that it has all", async () => {
  const hub = await hubWith(twoDistricts[0]);
  using field = openAt(hub, "kampala");
  const { pull } = pulling(hub);
  const juba = hub.device("juba");
  for (const n of [1, 2]) await juba.write(registered(n, "Kampala"));
  await hub.seal();
  await pull(field);
  await juba.write(updated(1, { village: "A secret of Katwe" }));
  await juba.write(updated(2, { village: "Bwaise" }));
  await hub.seal();
  await juba.write(updated(1, { village: "Another secret" }));
  await juba.write(updated(1, { district: "Gulu" }));
  await hub.seal();
  const pages: Page[] = [];
  const onPage = (page: Page): Page => {
    pages.push(page);
    // As it travels.
    return decodePage(encodePage(page, writing), reading).page;
  };
  const taken = await pull(field, { onPage });
  expect(saidIn(pages)).toContain("Bwaise");
  expect(saidIn(pages)).not.toContain("secret");
  expect(pages.flatMap(({ sections }) => sections.map(({ kind }) => kind))).toEqual(["lines"]);
  // What it deletes counts what came with the leaving, as ever: one event that it had, and two that it was told of.
  expect(taken.flatMap(({ purged }) => purged)).toMatchObject([{ bucket: KAMPALA, entities: 1, events: 3 }]);
  expect(replicaOf(field).row("people", number(1))).toBeNull();
  expect(expectSame(hub, field, "beneficiary")).toBe(1);
});

it("somebody who moves to another bucket of the device comes there with all that was written, also with what the bucket before was not told", async () => {
  const hub = await hubWith(...twoDistricts);
  using field = openAt(hub, "kampala");
  const { pull } = pulling(hub);
  const juba = hub.device("juba");
  await juba.write(registered(1, "Kampala"));
  await juba.write(registered(2, "Nairobi"));
  await hub.seal();
  await pull(field);
  await juba.write(updated(1, { village: "Katwe" }));
  await juba.write(updated(1, { district: "Nairobi" }));
  await hub.seal();
  await pull(field);
  expect(replicaOf(field).row("people", number(1))?.row.values).toMatchObject({ village: "Katwe", district: "Nairobi" });
  expect(expectSame(hub, field, "beneficiary")).toBe(2);
});

it("an event without its text is refused of somebody who stays, and nothing of the section is kept", async () => {
  const hub = await hubWith(twoDistricts[0]);
  using field = openAt(hub, "kampala");
  const { pull, step } = pulling(hub);
  const juba = hub.device("juba");
  await juba.write(registered(1, "Kampala"));
  await hub.seal();
  await pull(field);
  await juba.write(updated(1, { village: "Katwe" }));
  await hub.seal();
  await step(field, {}, false);
  const onPage = (page: Page): Page => ({
    ...page,
    sections: page.sections.map((section) =>
      section.kind === "lines"
        ? {
            ...section,
            lines: section.lines.map((line) => ({ ...line, events: line.events.map((event) => ({ ...event, text: null })) })),
          }
        : section,
    ),
  });
  const taken = await step(field, { onPage });
  expect(taken?.refused).toHaveLength(1);
  expect(replicaOf(field).asks()[KAMPALA]).toMatchObject({ kind: "compare" });
  await pull(field);
  expect(expectSame(hub, field, "beneficiary")).toBe(1);
});

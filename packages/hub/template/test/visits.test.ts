import assert from "node:assert/strict";
import { test } from "node:test";
import { openTrial } from "@tributary-sync/hub/testing";

const visit = { visit_no: "JUB-000001", household: "H-12", visited_on: "2026-05-03", people: 5 };

test("a visit that two correct at once shows the higher count, and says why", async () => {
  const trial = await openTrial({ schemas: "schemas", projections: "projections" });
  trial.write({ type: "visit.recorded", entity: "visit/JUB-000001", site: "juba", data: visit });
  trial.write({ type: "visit.corrected", entity: "visit/JUB-000001", site: "juba", data: { ...visit, people: 6 } });
  trial.write({
    type: "visit.corrected",
    entity: "visit/JUB-000001",
    site: "yei",
    data: { ...visit, people: 4 },
    hadSeen: false,
  });

  assert.equal(trial.rows("visits")[0]?.people, 6);
  assert.equal(trial.decisions("visits").find(({ register }) => register === "people")?.rule, "max");
});

test("a form that lacks the household is refused on the device", async () => {
  const trial = await openTrial({ schemas: "schemas", projections: "projections" });
  const { household: _, ...incomplete } = visit;
  assert.throws(
    () => trial.write({ type: "visit.recorded", entity: "visit/JUB-000001", data: incomplete }),
    (error: Error & { code?: string }) => error.code === "event-invalid" && error.message.includes("household"),
  );
});

import { describe, expect, it } from "vitest";
import { entityTypes } from "../../services/cli/sites.ts";
import { forbidden, HUB_ENTITIES, type OriginId } from "../../services/core/index.ts";

const SITE = "relief.juba.t1.abc" as OriginId;
const HUB = "relief.hub.console.abc" as OriginId;
const event = (type: string, entity: string, origin = SITE) => ({ type, origin, entity: { type: entity, id: "x" } });

describe("who may write what", () => {
  it("leaves registrations of sites, notes on cases, releases and rejections to the hub, by entity and by the type's name", () => {
    for (const [type, entity, what] of [
      ["site.registered", "site", "register sites and give them roles"],
      ["site.roles-set", "site", "register sites and give them roles"],
      ["site.roles-set", "replica-site", "register sites and give them roles"],
      ["case.assigned", "case", "note what is done about a case"],
      ["quarantine.released", "quarantine", "settle what is in quarantine"],
      ["policy.set", "policy", "say what sites may hold"],
      ["schema.registered", "schema", "say which schemas there are"],
      // Either alone is enough, whatever a schema lets pass.
      ["conflict.resolved", "case", "note what is done about a case"],
      ["site.closed", "beneficiary", "register sites and give them roles"],
    ] as const) {
      expect(forbidden(event(type, entity), { hub: "relief", types: null })).toEqual({
        code: "type-not-allowed",
        message: `only the hub's operators may ${what}`,
        path: null,
      });
      expect(forbidden(event(type, entity), { hub: "relief", types: [entity] })?.code).toBe("type-not-allowed");
      expect(forbidden(event(type, entity, HUB), { hub: "relief", types: null })).toBeNull();
    }
    expect(HUB_ENTITIES).toEqual(["site", "case", "quarantine", "policy", "schema"]);
  });

  it("lets a site write everything else, or what it was let in for; names that every JavaScript object has are names like others", () => {
    for (const entity of ["beneficiary", "constructor", "site-visit", "sites"])
      expect(forbidden(event(`${entity}.recorded`, entity), { hub: "relief", types: null })).toBeNull();
    expect(
      forbidden(event("conflict.resolved", "beneficiary"), { hub: "relief", types: ["beneficiary", "distribution"] }),
    ).toBeNull();
    expect(
      forbidden(event("distribution.recorded", "distribution"), { hub: "relief", types: ["beneficiary", "stock-movement"] }),
    ).toEqual({
      code: "entity-not-allowed",
      message: "relief.juba was let in to write about beneficiary, stock-movement only; this is about a distribution",
      path: null,
    });
    expect(forbidden(event("distribution.recorded", "distribution"), { hub: "relief", types: [] })?.message).toContain(
      "write about nothing; this",
    );
  });

  it("lets each device speak of its own replica, whatever it was let in for, and of no other; the hub's people neither", () => {
    const of = (id: string, origin = SITE, type = "replica.purged", entity = "replica") => ({
      type,
      origin,
      entity: { type: entity, id },
    });
    for (const types of [null, ["beneficiary"], []]) expect(forbidden(of("relief.juba.t1"), { hub: "relief", types })).toBeNull();
    expect(forbidden(of("relief.hub.console", HUB), { hub: "relief", types: null })).toBeNull();
    for (const [event, about] of [
      [of("relief.juba.t2"), "replica/relief.juba.t2"],
      [of("relief.juba.t1", HUB), "replica/relief.juba.t1"],
      [of("relief.juba.t1.abc"), "replica/relief.juba.t1.abc"],
      [of("relief.juba.t1", SITE, "replica.purged", "beneficiary"), "beneficiary/relief.juba.t1"],
    ] as const) {
      const device = event.origin === HUB ? "relief.hub.console" : "relief.juba.t1";
      expect(forbidden(event, { hub: "relief", types: null })).toEqual({
        code: "entity-not-allowed",
        message: `a device speaks of its own replica only, which is replica/${device}; this is about ${about}`,
        path: null,
      });
    }
  });

  it("is given as a list, with commas or spaces; what is not an entity type, or is the hub's own, is refused", () => {
    expect(entityTypes("beneficiary, distribution beneficiary")).toEqual(["beneficiary", "distribution"]);
    for (const bad of ["", " , ", "Beneficiary", "case", "beneficiary,quarantine", "a/b"])
      expect(() => entityTypes(bad), bad).toThrow(expect.objectContaining({ code: "usage" }));
  });
});

import { describe, expect, it } from "vitest";
import {
  EVERYBODY,
  maySee,
  NOBODY,
  originId,
  ownerOf,
  ownerOfEntity,
  position,
  ROLES,
  type Viewer,
  viewerOf,
} from "../../services/core/index.ts";

const origin = (org: string, site = "juba") => originId({ org, site, device: "tablet-1", epoch: "e1" });
const at = (n: number, org: string, site?: string) => ({ origin: origin(org, site), position: position(BigInt(n)) });
const relief: Viewer = { orgs: ["relief"] };

describe("what somebody is shown", () => {
  it("is the rows of their own organisation, and of no other", () => {
    expect(maySee(relief, "relief")).toBe(true);
    for (const other of ["msf", "relie", "relief2", "Relief", "relief ", "", "*", "relief.juba"])
      expect(maySee(relief, other)).toBe(false);
  });

  it("is nothing where it is not known who looks, and nothing of unknown owners but to those who see everything", () => {
    for (const org of ["relief", "", null, undefined]) expect(maySee(NOBODY, org)).toBe(false);
    expect(maySee(relief, null)).toBe(false);
    expect(maySee(relief, undefined)).toBe(false);
    expect(maySee({ orgs: [""] }, "")).toBe(false);
    for (const org of ["relief", "msf", null]) expect(maySee(EVERYBODY, org)).toBe(true);
  });
});

describe("a viewer", () => {
  it("sees every organisation only as auditor or admin of the hub's own organisation", () => {
    const all = (org: string | null, role: string, hub: string | null) => viewerOf({ org, roles: [role], hub }).orgs === null;
    expect(ROLES.filter((role) => all("relief", role, "relief"))).toEqual(["auditor", "admin"]);
    for (const role of ROLES) {
      expect(viewerOf({ org: "msf", roles: [role], hub: "relief" })).toEqual({ orgs: ["msf"] });
      // Whose hub it is, is not known: nobody belongs to it.
      expect(viewerOf({ org: "relief", roles: [role], hub: null })).toEqual({ orgs: ["relief"] });
    }
  });

  it("who has no organisation sees nothing, whatever the role", () => {
    for (const org of [null, "", " ", "*", "relief.hub"])
      for (const hub of ["relief", null, "", "*"]) expect(viewerOf({ org, roles: ["admin"], hub })).toEqual(NOBODY);
  });
});

describe("the owner", () => {
  it("of what an origin wrote is the origin's organisation", () => {
    expect(ownerOf(origin("msf"))).toBe("msf");
    expect(ownerOf({ org: "relief" })).toBe("relief");
  });

  it("of an entity is the organisation of its first event in the log, in whichever order the events are looked at", () => {
    const entity = { type: "beneficiary", id: "B-1" };
    const events = [at(30, "unhcr"), at(10, "relief"), at(20, "msf")];
    expect(ownerOfEntity(entity, events)).toBe("relief");
    expect(ownerOfEntity(entity, events.toReversed())).toBe("relief");
    // Later events of others take nothing away.
    expect(ownerOfEntity(entity, [...events, at(40, "msf"), at(50, "msf")])).toBe("relief");
    expect(ownerOfEntity(entity, [])).toBeNull();
  });

  it("of a site and of a replica is the organisation that its id names, though the hub writes about it", () => {
    expect(ownerOfEntity({ type: "site", id: "msf.juba" }, [at(1, "relief", "hub")])).toBe("msf");
    expect(ownerOfEntity({ type: "replica", id: "msf.juba.tablet-1" }, [at(1, "msf")])).toBe("msf");
    expect(ownerOfEntity({ type: "site", id: "juba" }, [at(1, "relief", "hub")])).toBe("relief");
    // Another entity's id is an id and says nothing of its owner.
    expect(ownerOfEntity({ type: "beneficiary", id: "msf.juba" }, [at(1, "relief")])).toBe("relief");
  });
});

import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ROOT } from "../../services/cli/program.ts";
import { unexportedTypes } from "../support/exports.ts";

/**
 * What an app holds and never writes down: the device's own statements and replica, the ways that a test replaces, and the gate's own picture of a schema; and views, which have
 * an entrance of their own (`@tributary-sync/field/projections`).
 */
const INSIDE = [
  "Rows, named by Store",
  "Model, named by SchemaVersion",
  "Replica, named by Field",
  "Transport, named by SyncOptions",
  "TransportOptions, named by SyncOptions",
  "Projection, named by Field",
  "View, named by FieldOptions",
];

describe("the field SDK", () => {
  it("exports every type that its public signatures name, so that an app can write it down", () => {
    expect(unexportedTypes(join(ROOT, "packages/field/index.ts"))).toEqual(INSIDE.toSorted());
  });

  it("and the client exports all of its own, without exception", () => {
    expect(unexportedTypes(join(ROOT, "packages/client/index.ts"))).toEqual([]);
  });

  it("is checked by a test that finds what a module does not export", () => {
    const missing = unexportedTypes(join(ROOT, "services/field/outbox.ts"));
    expect(missing).toContain("Gate, named by openOutbox");
    expect(missing).toContain("EntityRef, named by NewEvent");
  });
});

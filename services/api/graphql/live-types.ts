/** The part of the schema that is followed: what changes in each view, in cases, and in what devices have sent. */
import type { View } from "../../merge/engine.ts";
import { typeNameOf } from "./view-types.ts";

const OWN = `
"What is told: where one stands; what changed; or that not all that changed is known, so that it must be read again."
enum ToldKind { standing rows changed cases syncs reset }
"Cases that were opened, changed or closed, as they are now."
type CasesTold {
  kind: ToldKind!
  "Given back as \`from\`, it goes on from here."
  resume: String!
  cases: [Case!]!
}
"A device's events, all of which the views show up to one of them."
type Synced {
  origin: String!
  org: String!
  site: String!
  device: String!
  "All of its events up to this one are shown."
  through: Integer!
  position: Position!
}
type SyncsTold {
  kind: ToldKind!
  resume: String!
  syncs: [Synced!]!
}
"Followed over a socket (graphql-transport-ws): each takes \`from\`, the last \`resume\` that came, and misses nothing since."
type Subscription {
  "Cases that are opened, changed or closed."
  casesChanged(from: String): CasesTold!
  "Only that cases are opened."
  conflictsOpened(from: String): CasesTold!
  "That all views show what a device has sent."
  syncsCompleted(from: String): SyncsTold!
}
`;

/** The types of what is followed, and for each view a field that follows it. */
export const liveTypes = (views: readonly View[]): string =>
  [
    OWN,
    ...views.map((view) => {
      const name = typeNameOf(view.name);
      const row = view.kind === "sql" ? "JSON" : `${name}Row`;
      const where = view.kind === "sql" ? "where: [ColumnCondition!]" : `where: ${name}Where`;
      return `"What changed in ${view.name}: rows as they are now, and ids of those that do not match or are there no more. Of totals and SQL views only that other rows may be shown."
type ${name}Told {
  kind: ToldKind!
  resume: String!
  rows: [${row}!]!
  gone: [String!]!
}
extend type Subscription {
  "What changes in ${view.name}."
  ${view.name}(${where}, from: String): ${name}Told!
}`;
    }),
  ].join("\n");

/** The part of the schema that is the same for every team, in GraphQL's own language: what may be asked and written. */
import { OF_HUB } from "./types-hub.ts";
import { SHOWN } from "./types-shown.ts";
import { conditionTypes } from "./view-types.ts";

const INPUTS = `
"A moment: a position in the log, or a time by the hub's clock (recorded time)."
input Moment @oneOf {
  position: Position
  time: Instant
}

"An entity, by its type and id."
input EntityInput {
  type: String!
  id: String!
}

"A schema's version."
input SchemaRefInput {
  subject: String!
  version: Int!
}

"Another subject's schema that a schema uses."
input ReferenceInput {
  name: String!
  subject: String!
  version: Int!
}

"A condition on a column of a view in PostgreSQL's own words. Exactly one member beside the column is given."
input ColumnCondition {
  column: String!
  eq: JSON
  ne: JSON
  lt: JSON
  le: JSON
  gt: JSON
  ge: JSON
  contains: String
  in: [JSON!]
  isNull: Boolean
}

"A change of one field of an event's data; null removes the field."
input ChangeInput {
  field: String!
  value: JSON
}

"An event that a program writes."
input EventInput {
  type: String!
  entity: EntityInput!
  data: JSON!
  "When it happened, if not now."
  occurredAt: Instant
  "The version that it is written in; default: the newest one of the subject that declares the type."
  schema: SchemaRefInput
  "Up to which position its author had seen the entity: what a page or a row told as through. Without it, the event stands beside what others have written."
  seenThrough: Position
  correlationId: String
  causationId: String
}

${conditionTypes()}
`;

const QUERY = `
type Query {
  "Who one is to this hub, and what one may."
  me: Me!
  "The bounds of one question."
  limits: [Limit!]!
  "The versions that a row had."
  history(entity: EntityInput!, view: String, first: Int, after: String): History!
  "Decisions on an entity, in the order of the log."
  decisions(entity: EntityInput!): Decisions!
  "How an entity's row came to be what it is: of all registers, or the one that holds a field; in all views that show it, or one."
  explain(entity: EntityInput!, field: String, view: String): [Explanation!]!
  "A row folded again from its events, up to a position."
  rowAsOf(entity: EntityInput!, position: Position, view: String): RowAsOf!
  "All that is known of an entity."
  trail(entity: EntityInput!): Trail!
  "The first thousand cases, oldest first. unassigned: those of nobody."
  cases(state: CaseState, view: String, rule: String, assignee: String, unassigned: Boolean = false): Cases!
  "A case with its values, events and notes; null: there is none."
  case(id: String!): CaseDetails
  "The values of any register, to pick from."
  register(entity: EntityInput!, register: String!): RegisterNow!
  "Quarantined events, in the order of the log."
  quarantine(state: QuarantineState, site: String, code: String, subject: String, version: Int, first: Int, after: String): Quarantine!
  "A quarantined event (ORIGIN/SEQ), looked at again."
  quarantined(event: String!): Examined!
  "How much of what sites send is quarantined, in the last days or ever."
  quarantineRates(days: Int): [QuarantineRate!]!
  "Entities that a view could not fold further, in the order of the events that stopped them."
  parked(view: String, first: Int): [ParkedEntity!]!
  "The subjects of schemas."
  subjects(prefix: String): [Subject!]!
  "One subject; null: there is none."
  subject(name: String!): Subject
  "Schemas that wait for somebody to register them."
  proposals: [Proposal!]!
  "What keeps a schema from being registered, by the level in force or another. Nothing is written."
  checkSchema(subject: String!, kind: SchemaKind!, text: String!, references: [ReferenceInput!], level: String): [Finding!]!
  "Sites, and when they last spoke."
  sites: [Site!]!
  "The policies that hold."
  policies: [Policy!]!
  "What a site would be given, by the policies that hold and by these in place of those of their names. Without roles: its own."
  previewPolicies(org: String, site: String!, roles: [String!], instead: [JSON!]): Preview!
  "Devices that were told to delete something."
  replicas(unconfirmedDays: Float): [Replica!]!
  "How far the log and the views have come."
  status: Status!
}
`;

const MUTATION = `
type Mutation {
  "Decides the conflict that a case is about: pick names one of the values, or value is another one."
  decideCase(case: String!, pick: String, value: JSON, note: String): Decided!
  "Decides a register of an entity, with or without a case."
  decideRegister(entity: EntityInput!, register: String!, pick: String, value: JSON, note: String): Decided!
  "Gives a case to a person; null takes it back."
  assignCase(case: String!, to: String, note: String): CaseNoted!
  "Leaves a violated invariant or a fork as it is, for a reason."
  acceptCase(case: String!, note: String!): CaseNoted!
  commentCase(case: String!, text: String!): CaseNoted!
  "Releases quarantined events that fit now, as they are or mended."
  releaseQuarantined(events: [String!]!, changes: [ChangeInput!], replacement: JSON, schema: SchemaRefInput, note: String, dryRun: Boolean = false): Released!
  "Rejects quarantined events for good. Returns their names."
  rejectQuarantined(events: [String!]!, reason: String!): [String!]!
  "Has parked entities folded again: those named (VIEW/ENTITY), or all. Returns how many."
  retryParked(view: String, names: [String!]): Int!
  "Registers a schema as the subject's next version; the same text again gives the same version."
  registerSchema(subject: String!, kind: SchemaKind!, text: String!, references: [ReferenceInput!]): Registered!
  "Registers a site, and makes what lets its devices in."
  registerSite(org: String, site: String!, title: String, device: String, types: [String!], roles: [String!], days: Int = 90, codeDays: Int = 7): RegisteredSite!
  "Refuses a site from now on: its tokens, codes and devices."
  revokeSite(org: String, site: String!, reason: String): RevokedSite!
  "Sets a policy in place of the one of its name."
  setPolicy(policy: JSON!): SetPolicy!
  removePolicy(name: String!, note: String): String!
  "Appends events in a person's name, through an origin that the hub keeps for their organisation. Returns when the log has them."
  append(events: [EventInput!]!): Appended!
}
`;

/** All of it. */
export const ownTypes = (): string => [INPUTS, ...SHOWN, ...OF_HUB, QUERY, MUTATION].join("\n");

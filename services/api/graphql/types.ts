/** The part of the schema that is the same for every team, in GraphQL's own language. */
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

const READS = `
"One person or site, as a token proves it."
type Me {
  kind: String!
  issuer: String!
  subject: String!
  org: String!
  roles: [String!]!
  rights: [Right!]!
  "The organisations whose rows are shown; null: all."
  sees: [String!]
  expiresAt: Instant!
}
type Right {
  right: String!
  words: String!
}

"A bound of a question."
type Limit {
  setting: String!
  value: Integer!
}

"The versions that a row had, the newest first."
type History {
  view: String!
  versions: [Version!]!
  "For the next page; null: there are no more."
  next: String
}
type Version {
  position: Position!
  recordedAt: Instant!
  deleted: Boolean!
  values: JSON!
}

type Decisions {
  decisions: [Decision!]!
  "Decisions that stood before the entity was folded again, or its view was built again."
  superseded: [Decision!]!
  through: Position
}
"What a rule decided about values that stood side by side."
type Decision {
  view: String!
  entity: String!
  register: String!
  position: Position!
  rule: String!
  ruleVersion: Integer!
  reason: String!
  "What the row showed."
  value: JSON
  winner: StandingValue!
  losers: [StandingValue!]!
  "Whether a person was to decide."
  isOpen: Boolean!
  "The position of the event that ended the decision; null: it stands."
  settledPosition: Position
  knownFrom: Position
  supersededAt: Position
}
type StandingValue {
  value: JSON
  "Who wrote it: origin, seq, hlc, actor, clockWrong, position."
  by: JSON!
}

"How a row came to be what it is, in one view."
type Explanation {
  entity: String!
  view: String!
  "The live view was built by another declaration than the one that this story follows."
  builtOtherwise: Boolean!
  parked: ParkedAt
  deleted: Boolean!
  registers: [RegisterStory!]!
  unfolded: [Unfolded!]!
}
type ParkedAt {
  view: String
  event: String!
  error: String!
}
type Unfolded {
  event: String!
  type: String!
  error: String!
}
type RegisterStory {
  register: String!
  columns: [String!]!
  rule: String!
  value: JSON
  withheld: Boolean
  steps: [Step!]!
  "What stands side by side at present; null: nothing is contested."
  decision: Standing
  leftOut: [String!]!
}
type Step {
  position: Position
  event: String!
  type: String!
  actor: String!
  org: String!
  site: String!
  occurredAt: String!
  recordedAt: Instant
  clockWrong: Boolean!
  notes: [String!]!
  value: JSON
  withheld: Boolean
  "Writes whose values it replaced, because its author had seen them."
  replaces: [String!]!
  cannotReplace: [String!]!
  seenBy: [String!]!
  stands: Boolean!
  "Writes that stand beside it: neither author had seen the other's."
  beside: [String!]!
  decision: Standing
}
"What a rule says of values that stand side by side."
type Standing {
  register: String!
  rule: String!
  ruleVersion: Integer!
  reason: String!
  value: JSON
  winner: StandingValue!
  losers: [StandingValue!]!
  isOpen: Boolean!
}

"A row as a view showed it, folded again from the events."
type RowAsOf {
  view: String!
  entity: String!
  asOf: Position
  incarnation: String
  values: JSON!
  deleted: Boolean!
  withheld: [String!]!
  waitingFor: JSON!
  decisions: [Standing!]!
  events: Integer!
  parked: ParkedAt
  builtOtherwise: Boolean!
}

"All that is known of an entity."
type Trail {
  entity: String!
  through: Position
  incarnation: String
  events: [AuditedEvent!]!
  decisions: [Decision!]!
  superseded: [Decision!]!
  parked: [ParkedAt!]!
  cases: [Case!]!
  beyond: [BeyondEvent!]!
}
type AuditedEvent {
  origin: String!
  seq: Integer!
  position: Position!
  id: String!
  type: String!
  entity: String!
  site: String!
  device: String!
  actor: String!
  occurredAt: String!
  recordedAt: Instant!
  hlc: String!
  clockOffsetMs: Float
  schema: String!
  basis: JSON!
  notes: [String!]!
  data: JSON
  hash: String!
  prev: String!
  quarantine: String
  settled: JSON
  projectionError: String
  placeholders: [String!]!
}
"An event that was folded before the log was set back, and has not been sent again."
type BeyondEvent {
  incarnation: String
  event: String!
  position: Position!
  type: String!
}
`;

const CASES = `
enum CaseState { open accepted closed }

type Cases {
  cases: [Case!]!
  "The position up to which no case is missing."
  through: Position
}
"A conflict, a broken invariant or a fork that waits for a person."
type Case {
  id: String!
  state: CaseState!
  kind: String!
  view: String!
  entityType: String!
  "The entity, or the key that entities share."
  subject: String!
  "The register or the invariant."
  rule: String!
  says: String!
  about: JSON!
  mark: String!
  openedAt: Instant!
  assignee: String
  acceptedBy: String
  acceptedNote: String
  acceptedAt: Instant
}
type CaseDetails {
  case: Case!
  "For a conflict: the values that stand side by side; null: the case is of another kind."
  choices: [Choice!]
  events: [InvolvedEvent!]!
  notes: [CaseNote!]!
}
type Choice {
  "The code that picks it."
  pick: String!
  event: String!
  actor: String!
  hlc: String!
  clockWrong: Boolean!
  value: JSON
}
type InvolvedEvent {
  entity: String!
  event: String!
  type: String!
  actor: String!
  site: String!
  occurredAt: String!
  data: JSON
}
type CaseNote {
  kind: String!
  actor: String!
  at: String!
  text: String
  assignee: String
}
"A register of an entity, with the values that stand in it."
type RegisterNow {
  entity: Entity!
  view: String!
  register: String!
  "How a value is written: presence (true: deleted), column, or columns (an object with all of them)."
  form: String!
  columns: [String!]!
  values: [Choice!]!
}
type Entity {
  type: String!
  id: String!
}
type Decided {
  entity: String!
  register: String!
  value: JSON
  event: WrittenEvent!
}
type WrittenEvent {
  id: String!
  origin: String!
  seq: Integer!
  "Why the hub holds it in quarantine; null: it counts."
  quarantined: String
}
"What was written about a case."
type CaseNoted {
  case: String!
  type: String!
  data: JSON!
}
`;

const KEEPING = `
enum QuarantineState { held released rejected }

type Quarantine {
  events: [QuarantinedEvent!]!
  "For the next page; null: there are no more."
  next: String
  total: Integer!
}
type QuarantinedEvent {
  "As ORIGIN/SEQ."
  name: String!
  id: String!
  position: Position!
  type: String!
  entity: String!
  schema: String!
  site: String!
  actor: String!
  recordedAt: Instant!
  code: String!
  reason: String!
  path: String
  raw: String!
  hash: String!
  state: QuarantineState!
  settledAt: Instant
  settledBy: String
  settledNote: String
}
"A quarantined event, looked at with the schemas and views as they are now."
type Examined {
  event: QuarantinedEvent!
  data: JSON
  schema: String!
  problems: [Problem!]!
}
type Problem {
  code: String!
  message: String!
  path: String
}
type QuarantineRate {
  site: String!
  schema: String!
  events: Integer!
  quarantined: Integer!
  held: Integer!
  percent: Float!
}
type Released {
  released: [String!]!
  held: [HeldEvent!]!
  dryRun: Boolean!
}
type HeldEvent {
  event: String!
  problem: String!
}
"An entity that a view could not fold further."
type ParkedEntity {
  view: String!
  entity: String!
  entityType: String!
  event: String!
  type: String!
  position: Position!
  error: String!
  parkedAt: Instant!
  "How many later events of the entity wait with it."
  waiting: Integer!
}
`;

const SCHEMAS = `
enum SchemaKind { avro json }

type Subject {
  name: String!
  entity: String
  events: [String!]!
  title: String
  level: String!
  mode: String!
  "The organisation whose hub has the say over it; null: each hub."
  authority: String
  versions: [SchemaVersion!]!
}
type SchemaVersion {
  version: Int!
  id: Int!
  guid: String!
  kind: SchemaKind!
  text: String!
  references: [Reference!]!
  fingerprint: String!
  actor: String!
  registeredAt: Instant!
  position: Position!
  deleted: Boolean!
}
type Reference {
  name: String!
  subject: String!
  version: Int!
}
type Proposal {
  subject: String!
  version: Int!
  kind: SchemaKind!
  text: String!
  fingerprint: String!
  by: String!
  proposedAt: Instant!
  org: String
}
type Finding {
  direction: String!
  against: Int!
  rule: String!
  message: String!
  path: String!
  againstPath: String!
  counterexample: JSON
  hint: String!
}
type Registered {
  "registered, proposed or incompatible."
  outcome: String!
  version: SchemaVersion
  isNew: Boolean!
  "The organisation whose hub has the say, where the schema is a proposal to it."
  authority: String
  findings: [Finding!]!
}
`;

const PLACES = `
type Site {
  org: String!
  site: String!
  title: String
  roles: [String!]!
  devices: Integer!
  events: Integer!
  quarantined: Integer!
  clockWrong: Integer!
  lastRecordedAt: Instant
  position: Position
}
"What lets a site's devices in. It is told once."
type RegisteredSite {
  org: String!
  site: String!
  expiresAt: Instant!
  types: [String!]
  roles: [String!]
  typesWithoutSchema: [String!]!
  token: String!
  code: String!
  codeExpiresAt: Instant!
}
type RevokedSite {
  site: String!
  devices: [String!]!
}
type Policy {
  name: String!
  for: JSON!
  entities: JSON!
  setBy: String!
  setAt: Instant!
}
"What a site would be given."
type Preview {
  grants: [GrantSize!]!
  withheld: [String!]!
  unfit: [UnfitPolicy!]!
}
type GrantSize {
  policy: String!
  entityType: String!
  where: JSON!
  direction: String!
  priority: Int!
  statesOnly: Boolean!
  entities: Integer!
  events: Integer!
  bytes: Integer!
}
type UnfitPolicy {
  policy: String!
  problem: String!
}
type SetPolicy {
  name: String!
  for: JSON!
  entities: JSON!
  absentSites: [String!]!
  absentRoles: [String!]!
}
type Replica {
  "As org.site.device."
  device: String!
  owes: [OwedPurges!]!
  purges: Integer!
  lastPurge: Instant
}
type OwedPurges {
  bucket: String!
  entityType: String
  where: JSON!
  "How many entities; null: all that it has of the bucket."
  entities: Integer
  since: Instant!
}
"How far the hub has come."
type Status {
  "The position that all shards have reached; null: some have not begun."
  through: Position
  "The last position of the log; null: it is empty."
  logEnd: Position
  incarnation: String
  shards: [ShardHolder!]!
}
type ShardHolder {
  "null: nobody holds them."
  projector: String
  shards: [Int!]!
}
type Appended {
  events: [WrittenEvent!]!
}
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
export const ownTypes = (): string => [INPUTS, READS, CASES, KEEPING, SCHEMAS, PLACES, QUERY, MUTATION].join("\n");

/** What answers show of entities, cases and events, in GraphQL's own language. */
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

export const SHOWN: readonly string[] = [READS, CASES, KEEPING];

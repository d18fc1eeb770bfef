/** What answers show of a hub itself, in GraphQL's own language: schemas, sites, policies, replicas, how far it is. */
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

export const OF_HUB: readonly string[] = [SCHEMAS, PLACES];

/**
 * The pure heart: events, their clock, chain, vectors and wire form. In come plain values; out come plain values.
 * It has no I/O, no clock, no randomness and no Node API: what differs between Node and a browser is passed in (`node.ts`).
 */
export {
  type Forbidden,
  forbidden,
  type Grant,
  HUB_ENTITIES,
  type HubDeclaration,
  type HubOrg,
  hubOrgAt,
  isAt,
  isOneOf,
  isOwnOrigin,
  SITE_ENTITY,
  speaksForHub,
  type Who,
} from "./authority.ts";
export { type Reader, reader, type Writer, writer } from "./avro-bytes.ts";
export {
  type Batch,
  type Compression,
  type HeadInBatch,
  MAX_BATCH_BASIS,
  MAX_BATCH_BYTES,
  MAX_BATCH_EVENTS,
  MAX_BATCH_HEADS,
  MAX_BATCH_ORIGINS,
  MAX_FRAME_BYTES,
  type PackedEvent,
} from "./batch/batch.ts";
export { type Dictionary, dictionary, joined, pick, readTextOrUuid, writeTextOrUuid } from "./batch/columns.ts";
export { decodeBatch, decodeBatchInTurns } from "./batch/decode.ts";
export { encodeBatch } from "./batch/encode.ts";
export { peekOrigin, peekSender } from "./batch/frame.ts";
export {
  addHead,
  type HeadColumns,
  type HeadCursor,
  headAt,
  headColumns,
  originIn,
  type ReadHeads,
  readHeads,
  writeHeads,
} from "./batch/heads.ts";
export { BATCH_SCHEMA, HEAD_FIELDS, HEADS_SCHEMA, MORE } from "./batch/schema.ts";
export { base64urlBytes, bytesBase64url, bytesHex, hexBytes, quoted } from "./batch/texts.ts";
export { type Bucket, bucketIdOf, isBucketId, isOfColumns, isSameBucket, quarantineBucket, type ScopeValue } from "./bucket.ts";
export { CASE_ENTITY, CASE_NOTES, RESOLVED } from "./case.ts";
export { type ChainHash, eventText, hashOf } from "./chain.ts";
export { type Clip, type ClipCode, type Clips, clippedBasis, clipsFromStored, clipsToStored, clipWords } from "./clip.ts";
export { csvCell, csvLine } from "./csv.ts";
export { type Noteworthy, notedOf, notedText } from "./door-note.ts";
export {
  type DeviceName,
  deviceOf,
  type EnrolledKey,
  type Enrolling,
  hubSignatureOf,
  type IssuedCode,
  KEY_FACTS,
  KEY_OVERLAP_MS,
  KEYS_STREAM,
  type KeyFact,
  type KeyRecord,
  keyFactOf,
  keyRecord,
  keysAt,
  NOTES_SIGNED,
  type SiteRevocation,
  siteOfDevice,
} from "./enrolled.ts";
export type {
  Appendable,
  Content,
  CountedEntry,
  EventHead,
  LogEntry,
  Noted,
  OriginHead,
  QuarantineMark,
  QuarantineReason,
} from "./entry.ts";
export { assert, ERROR_CODES, type ErrorCode, isTributaryError, listenFailure, messageOf, TributaryError } from "./errors.ts";
export {
  type ClockNote,
  type EntityRef,
  type EventBody,
  entitySchema,
  envelopeProblem,
  eventBodySchema,
  hashSchema,
  MAX_EVENT_BYTES,
  MAX_SCHEMA_VERSION,
  MAX_TEXT,
  type SchemaRef,
  type TributaryEvent,
  vectorSchema,
} from "./event.ts";
export {
  type BucketHead,
  type Cursor,
  changedBy,
  type Digest,
  entityDigest,
  FEED_START,
  type Fingerprint,
  fingerprintOf,
  headAfter,
  type KeyRange,
  type Line,
  type LineKind,
  lineText,
  NO_ENTITIES,
  partOf,
  rangeKey,
  segmentDigest,
} from "./feed.ts";
export {
  compareStamps,
  EARLIEST_STAMP_MS,
  formatHlc,
  type Hlc,
  type HlcParts,
  isHlc,
  MAX_COUNTER,
  MAX_WALL_MS,
  observe,
  parseHlc,
  tick,
  wallMsOf,
} from "./hlc.ts";
export type { HubOrigin, OwnAuthor, OwnEvent } from "./hub-origin.ts";
export {
  type BucketId,
  type EventId,
  eventIdOf,
  GENESIS,
  type Hash,
  HUB_SITE,
  type IncarnationId,
  isHash,
  isName,
  isOriginId,
  nameOf,
  type OriginId,
  type OriginParts,
  orgOf,
  originId,
  type Position,
  partsOf,
  position,
  positionAfter,
  positionFromNumber,
  positionFromText,
  positionToNumber,
  positionToText,
  type Seq,
  seq,
} from "./ids.ts";
export type { Incarnation, IncarnationStart, NewIncarnation } from "./incarnation.ts";
export type { Fact, FollowOptions, Journal, NewFact } from "./journal.ts";
export { canonicalize, isJsonObject, type JsonObject, type JsonValue, MAX_JSON_DEPTH, notJson, parseCanonical } from "./json.ts";
export {
  inboxPrefix,
  isNatsUrl,
  mayAnswerAt,
  type NatsAddress,
  type NatsConnect,
  type NatsSettings,
  natsConnect,
  natsRefusal,
  parseNatsUrl,
  silenceHint,
  siteRights,
  withLogin,
  withoutLogin,
} from "./nats.ts";
export {
  comparePlaces,
  joinPlaces,
  ORDER_DEVICE,
  ORDER_ENTITY,
  ORDER_FORM,
  ORDER_NOTED,
  type OrderedRun,
  orderedRunOf,
  type Place,
  type PlacedIndex,
  type PlacedRun,
  type Places,
  placedIndex,
  placesOf,
  type TakenIn,
} from "./order.ts";
export type { PagedEvent } from "./paged-event.ts";
export {
  coversBucket,
  type Grant as PolicyGrant,
  grantsOf,
  type Holder,
  isRole,
  MAX_ROLES,
  OPEN_ENTITIES,
  POLICY_ENTITY,
  POLICY_REMOVED,
  POLICY_SET,
  type Policy,
  policyProblems,
  policySchema,
  rolesIn,
  SITE_ROLES_SET,
} from "./policy.ts";
export {
  type Enrolled,
  type Enrolment,
  enrolledSchema,
  enrolmentSchema,
  HEADER_TOKEN,
  type Hello,
  type HelloRequest,
  helloRequestSchema,
  helloSchema,
  incarnationIdSchema,
  isIncarnationId,
  MAX_HASHES_ASKED,
  MAX_HUB_KEYS,
  MAX_MARKS_ASKED,
  MAX_OTHER_ORIGINS,
  MAX_PAGE_BYTES,
  MAX_SCHEMA_NEWS,
  MAX_SUCCESSIONS,
  MEDIA_TYPE_BATCH,
  MEDIA_TYPE_PAGE,
  MEDIA_TYPE_PROBLEM,
  type QuarantineNote,
  quarantineNoteSchema,
  type Receipt,
  type Refusal,
  type Reply,
  type Rotation,
  receiptSchema,
  refusalSchema,
  replySchema,
  rotationSchema,
  type SchemaNews,
  type SettledMark,
  SUBJECTS,
  schemaNewsSchema,
} from "./protocol.ts";
export { commonVersion, PROTOCOL, type Spoken, UNSAID } from "./protocol-version.ts";
export {
  basisBytes,
  DATA_RANGE,
  dataOutOfRange,
  ENVELOPE_BYTES,
  envelopeOutOfRange,
  type InstantRange,
  type IntegerRange,
  type Member,
  type OutOfRange,
  RANGES,
  type Range,
  type TextRange,
} from "./ranges.ts";
export {
  QUARANTINE_ENTITY,
  REJECTED,
  RELEASED,
  type Rejection,
  type Release,
  releaseOf,
  type Settled,
  type Settlement,
  settledBy,
} from "./release.ts";
export { type ConfirmedPurge, PURGED, type Purge, purgeConfirmed, REPLICA_ENTITY } from "./replica.ts";
export { deviceRevokedWords, saysRevoked, siteRevokedWords } from "./revoked.ts";
export {
  DEFAULT_MATRIX,
  HUB_RIGHTS,
  isPersonRole,
  isRight,
  type Matrix,
  matrixOf,
  matrixSchema,
  RIGHTS,
  type Right,
  ROLES,
  type Role,
  rightsAt,
  rightsOf,
  rightWords,
  rolesWith,
} from "./rights.ts";
export {
  CHANGE_FORM,
  REGISTRATION_FORM,
  REGISTRY_DEVICE,
  SCHEMA_CHANGED,
  SCHEMA_ENTITY,
  SCHEMA_PROPOSED,
  SCHEMA_REGISTERED,
  type SchemaRegistration,
  schemaRegistrationOf,
} from "./schema-event.ts";
export { sha256 } from "./sha256.ts";
export {
  type KeyId,
  keyIdSchema,
  messageText,
  type PublicKey,
  publicKeySchema,
  runText,
  type Signature,
  type SignedHead,
  type SignedKind,
  type Signer,
  type Succession,
  signatureSchema,
  signedHeadSchema,
  successionSchema,
  thumbprintText,
} from "./signing.ts";
export { dataAsSeen, forTerminal, jsonForTerminal, keyAsSeen, textAsSeen } from "./text.ts";
export { busy, type Turns, turns } from "./turns.ts";
export { compareVectors, covers, type Dot, EMPTY_VECTOR, includes, join, type Vector, withDot } from "./vector.ts";
export { WAYS, type Way, wayOf } from "./ways.ts";
export { EVERYBODY, maySee, NOBODY, ownerOf, ownerOfEntity, ROLES_ACROSS, type Viewer, viewerOf } from "./whose.ts";
export {
  ALL_WITHHELD,
  copiedInto,
  type Followed,
  followWithheld,
  NONE_WITHHELD,
  OPENS_ALL,
  type Opened,
  type Opener,
  type SealedHead,
  watched,
} from "./withheld.ts";

/** What replicas and hubs say to each other about what a replica lacks. Light: a device loads it. */
export { decodePage, type PageReading, sealOf } from "./decode.ts";
export { hasComputedHash, type Unpack } from "./decode-events.ts";
export { encodePage, type PageWriting } from "./encode.ts";
export { isPage } from "./frame.ts";
export {
  type BucketAsk,
  bucketAskSchema,
  cursorSchema,
  DEFAULT_PAGE_EVENTS,
  LIST_AT,
  MAX_BUCKETS,
  MAX_FETCHED,
  MAX_PAGE_EVENTS,
  MAX_RANGES,
  type PullQuestion,
  type PullRequest,
  pullRequestSchema,
  rangeSchema,
} from "./messages.ts";
export {
  type HeldBucket,
  type Holding,
  type Page,
  type PagedEvent,
  type PagedLine,
  type PagedMember,
  PURGED,
  type Purge,
  pageText,
  REPLICA_ENTITY,
  type SealMark,
  type Section,
  type SignedPage,
  summaryText,
} from "./page.ts";
export { historyDigest } from "./parts.ts";
export { PAGE_FORMS, PAGE_SCHEMA } from "./schema.ts";
export type { Pack } from "./table.ts";

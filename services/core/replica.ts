/** What a replica says of itself in the log: that it has deleted what it may no longer hold. */
import { isBucketId } from "./bucket.ts";
import { deviceOf } from "./enrolled.ts";
import type { EntityRef } from "./event.ts";
import type { BucketId, OriginId } from "./ids.ts";
import type { JsonObject } from "./json.ts";

/** The entity that a device's replica is: `replica/<org.site.device>`. */
export const REPLICA_ENTITY = "replica";
/** Confirms that a replica deleted entities: an event of the device's own origin, about its own replica. */
export const PURGED = "replica.purged";

/** What `replica.purged` says. */
export interface Purge {
  readonly bucket: string;
  /** The seal up to which the replica had the bucket. */
  readonly seal: number;
  /** The entities that were deleted: how many, how many events, and the fingerprint of their histories. */
  readonly entities: number;
  readonly events: number;
  readonly fingerprint: string;
  /** Why: the entities left the bucket, the bucket was withdrawn, or the device was revoked. */
  readonly reason: "left" | "withdrawn" | "revoked";
}

/** What a purge confirms: all that the device was told to delete of the bucket up to the seal. */
export interface ConfirmedPurge {
  /** `org.site.device`. */
  readonly device: string;
  readonly bucket: BucketId;
  readonly seal: number;
}

/** What an event confirms; `null`: it confirms nothing, because it is no purge, or does not speak of its own device. */
export function purgeConfirmed(
  { type, origin, entity }: { readonly type: string; readonly origin: OriginId; readonly entity: EntityRef },
  { bucket, seal }: JsonObject,
): ConfirmedPurge | null {
  const device = deviceOf(origin);
  if (type !== PURGED || entity.type !== REPLICA_ENTITY || entity.id !== device) return null;
  if (typeof bucket !== "string" || !isBucketId(bucket) || typeof seal !== "number" || !Number.isSafeInteger(seal)) return null;
  return { device, bucket, seal };
}

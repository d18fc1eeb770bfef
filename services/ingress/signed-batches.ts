import { decodeBatchInTurns, deviceOf, isTributaryError, type OriginId, peekSender } from "../core/index.ts";
import { zstdBegin, zstdInTurns } from "../core/node.ts";
import { type Claims, checkOrigin, type Doorkeeper } from "../http/index.ts";
import { breaths, paced, SLICE_MS } from "./fair.ts";
import { isAway } from "./standing.ts";
import { unproven } from "./unproven.ts";
import type { Vouch } from "./vouch.ts";

/** A batch, and the address that it came from. */
export interface Came {
  readonly frame: Uint8Array;
  readonly address: string | undefined;
}

/** Returns the origin of a batch that is signed by a key of its device. Throws for any other batch. */
export type SignedBatches = (came: Came) => Promise<OriginId>;

/**
 * Looks at batches that came without a token. First at the sender's name; then, if the sender has a key, at the whole batch, some batches at a time and in
 * slices.
 */
export function signedBatches({ keeper, vouch }: { readonly keeper: Doorkeeper; readonly vouch: Vouch }): SignedBatches {
  const slots = unproven();
  const breathe = breaths();
  const nobody = async (): Promise<never> => {
    await keeper.admit(undefined, Date.now());
    throw new Error("invariant broken: without a token nobody is admitted");
  };
  /** What cannot be read belongs to nobody. */
  const readable = async <T>(read: Promise<T>): Promise<T> => {
    try {
      return await read;
    } catch (error) {
      if (isTributaryError(error) && error.code !== "protocol-unsupported") return nobody();
      throw error;
    }
  };
  return async ({ frame, address }) => {
    const origin = await readable(peekSender(frame, zstdBegin));
    const device = deviceOf(origin);
    await vouch.maySign(device, Date.now());
    return slots.run(device, address, async (sender) => {
      const batch = await readable(decodeBatchInTurns(frame, zstdInTurns, paced(breathe, sender, SLICE_MS)));
      if (batch.signature === undefined) return nobody();
      await vouch.batch({ authorization: undefined }, batch, Date.now());
      return batch.origin;
    });
  };
}

/** The token that came with a batch, looked at before the batch is read. */
export interface ShownToken {
  readonly authorization: string | undefined;
  /** `null`: none came, or one that is refused. */
  readonly claims: Claims | null;
  readonly refusal: unknown;
}

/** Looks at a batch's token. If it is refused, the batch's own signature may still let it in. */
export async function shownToken(keeper: Doorkeeper, authorization: string | undefined): Promise<ShownToken> {
  if (authorization === undefined) return { authorization, claims: null, refusal: null };
  try {
    return { authorization, claims: await keeper.admit(authorization, Date.now()), refusal: null };
  } catch (refusal) {
    return { authorization, claims: null, refusal };
  }
}

/**
 * Whose batch it is. Without a token that counts it is the batch's own signature that lets it in: a device whose key is enrolled goes on when its token has ended.
 * An unknown sender is refused by the name at the frame's head; nothing else of the frame is unpacked.
 */
export async function admittedBatch(
  signed: SignedBatches,
  { authorization, claims, refusal }: ShownToken,
  came: Came,
): Promise<{ readonly origin: OriginId; readonly authorization: string | undefined }> {
  if (claims !== null) {
    const origin = await peekSender(came.frame, zstdBegin);
    checkOrigin(claims, origin);
    return { origin, authorization };
  }
  if (refusal === null) return { origin: await signed(came), authorization: undefined };
  try {
    return { origin: await signed(came), authorization: undefined };
  } catch (error) {
    // What is wrong with the hub says nothing about the batch, which may be sent again.
    throw isAway(error) ? error : refusal;
  }
}

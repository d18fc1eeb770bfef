import { reader } from "../avro-bytes.ts";
import { isTributaryError, messageOf, TributaryError } from "../errors.ts";
import { isOriginId, type OriginId } from "../ids.ts";
import { PROTOCOL } from "../protocol-version.ts";
import { type Compression, MAX_BATCH_BYTES, MAX_FRAME_BYTES } from "./batch.ts";
import { quoted } from "./texts.ts";

export const MAGIC = [0x54, 0x42] as const;

const undecodable = (why: string, cause?: unknown): TributaryError =>
  new TributaryError(
    "batch-undecodable",
    `the batch cannot be read: ${why}`,
    "Send it again; if it fails again the sender's software is damaged or too old.",
    { cause },
  );

/** Unpacks a frame and reads its body. */
export function readFrame<T>(frame: Uint8Array, compression: Compression, read: (body: Uint8Array, version: number) => T): T {
  const { packed, isPacked, version } = openFrame(frame);
  return readable(() => read(isPacked ? compression.decompress(packed, MAX_BATCH_BYTES) : packed, version));
}

/** What a frame says of itself before anything in it is unpacked. */
export function openFrame(frame: Uint8Array): {
  readonly packed: Uint8Array;
  readonly isPacked: boolean;
  readonly version: number;
} {
  if (frame.length > MAX_FRAME_BYTES) {
    throw new TributaryError(
      "batch-too-large",
      `the batch has ${frame.length} bytes; ${MAX_FRAME_BYTES} are allowed`,
      "Send fewer events at a time.",
    );
  }
  const [first, second, form = 0xf] = frame;
  if (first !== MAGIC[0] || second !== MAGIC[1] || (form & 0xf) > 1) throw undecodable("it is not a Tributary batch");
  const version = Math.max(1, form >> 4);
  if (version > PROTOCOL.newest) {
    throw new TributaryError(
      "protocol-unsupported",
      `the batch is written in version ${version} of the protocol; this hub speaks ${PROTOCOL.oldest} to ${PROTOCOL.newest}`,
      "Update the hub, or send again in a version that its hello names.",
    );
  }
  return { packed: frame.subarray(3), isPacked: (form & 0xf) === 1, version };
}

/** Whatever goes wrong with what a stranger wrote is `batch-undecodable`. */
export function readable<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw isTributaryError(error) && error.code === "batch-undecodable" ? error : undecodable(messageOf(error), error);
  }
}

export async function readableLater<T>(read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    throw undecodable(messageOf(error), error);
  }
}

/** The origin stands within so many first bytes of a frame's content, whatever its length. */
const PEEK_BYTES = 1_024;

/**
 * Whose batch a frame says it is, from its first bytes alone. Nothing else of the frame is unpacked, so a stranger's frame costs next to nothing. `begin`
 * unpacks so many bytes of the content. Throws like `decodeBatch`.
 */
export async function peekSender(
  frame: Uint8Array,
  begin: (packed: Uint8Array, bytes: number) => Promise<Uint8Array>,
): Promise<OriginId> {
  const { packed, isPacked } = openFrame(frame);
  const body = isPacked ? await readableLater(() => begin(packed, PEEK_BYTES)) : packed.subarray(0, PEEK_BYTES);
  return originIn(readable(() => reader(body).string()));
}

const originIn = (text: string): OriginId => {
  if (isOriginId(text)) return text;
  throw undecodable(`${quoted(text)} is not an origin`);
};

/** Whose batch a frame is, without reading the events: for routing. Throws like `decodeBatch`. */
export function peekOrigin(frame: Uint8Array, compression: Compression): OriginId {
  return originIn(readFrame(frame, compression, (body) => reader(body).string()));
}

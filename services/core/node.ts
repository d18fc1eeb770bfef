/** The platform functions that core needs, as Node provides them. Core itself never imports this file. */
import {
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  hash,
  type KeyObject,
  randomBytes,
  sign,
  verify,
} from "node:crypto";
import { chmodSync, closeSync, existsSync, mkdirSync, openSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { promisify } from "node:util";
import { getHeapStatistics, setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { createZstdDecompress, constants as zlib, zstdCompressSync, zstdDecompress, zstdDecompressSync } from "node:zlib";
import type { Compression } from "./batch/batch.ts";
import type { ChainHash } from "./chain.ts";
import { TributaryError } from "./errors.ts";
import type { Hash } from "./ids.ts";
import { type KeyId, type PublicKey, publicKeySchema, type Signature, type Signer, thumbprintText } from "./signing.ts";

export {
  greet,
  kindOf,
  kindsAt,
  linkProblem,
  NOTHING_LISTENS,
  otherKindAt,
  SAYS_NOTHING,
  SERVER_KINDS,
  type ServerAddress,
  type ServerKind,
  timeoutFor,
  unlessOtherKind,
} from "./knock.node.ts";

const PREV_BYTES = 32;
/** Where the bytes of most events fit: one call for all is three times as fast as one for each part. */
const HASHED = Buffer.alloc(65_536);

export const chainHash: ChainHash = (prev, text) => {
  // No character has more bytes than three for each of its code units.
  if (PREV_BYTES + 3 * text.length > HASHED.length || HASHED.write(prev, 0, PREV_BYTES, "hex") !== PREV_BYTES)
    return createHash("sha256").update(prev, "hex").update(text).digest("hex") as Hash;
  const end = PREV_BYTES + HASHED.write(text, PREV_BYTES, "utf8");
  return hash("sha256", HASHED.subarray(0, end), "hex") as Hash;
};

/** Level 9: batches of 100 small events become 4 % smaller than with level 3, and it is still far faster than any link. */
const LEVEL = 9;

export const zstd: Compression = {
  compress: (bytes) => zstdCompressSync(bytes, { params: { [zlib.ZSTD_c_compressionLevel]: LEVEL } }),
  decompress: (bytes, maxBytes) => zstdDecompressSync(bytes, { maxOutputLength: maxBytes }),
};

/** Frames up to this size are unpacked on this thread: handing them to another one takes longer. */
const UNPACKED_HERE_BYTES = 16_384;
const zstdUnpacked = promisify(zstdDecompress);

/** Unpacks without keeping others waiting, whatever size the sender chose. Throws rather than return more than `maxBytes`. */
export const zstdInTurns = (bytes: Uint8Array, maxBytes: number): Uint8Array | Promise<Uint8Array> =>
  bytes.length <= UNPACKED_HERE_BYTES ? zstd.decompress(bytes, maxBytes) : zstdUnpacked(bytes, { maxOutputLength: maxBytes });

/** The first bytes of what was packed, at most `count`. Only a few blocks are unpacked, on another thread. */
export async function zstdBegin(bytes: Uint8Array, count: number): Promise<Uint8Array> {
  const unpacking = createZstdDecompress({ chunkSize: Math.max(count, 64) });
  unpacking.end(bytes);
  try {
    for await (const chunk of unpacking as AsyncIterable<Buffer>) return chunk.subarray(0, count);
    return new Uint8Array(0);
  } finally {
    unpacking.destroy();
  }
}

/** Bytes of garbage that are left uncollected. */
const MAX_GARBAGE_BYTES = 24 * 1_048_576;

/**
 * For long work that streams. V8 lets a heap grow to several times its live size before it collects (measured: 420 MiB resident for 35 MiB live). A caller that calls this
 * between two pages stays within its live size and 24 MiB of garbage. A collection takes about 50 ms, once in a few thousand events.
 */
export function heapKeeper(): () => void {
  setFlagsFromString("--expose-gc");
  // The young generation keeps its size: otherwise it would grow to 64 MiB, however little is live.
  setFlagsFromString("--semi-space-growth-factor=1");
  const collect = runInNewContext("gc") as () => void;
  let lives = 0;
  return () => {
    if (getHeapStatistics().used_heap_size < lives + MAX_GARBAGE_BYTES) return;
    collect();
    lives = getHeapStatistics().used_heap_size;
  };
}

const ALPHABET = "abcdefghijklmnopqrstuvwxyz234567";

/** A new epoch: 12 characters, 60 random bits. */
export const randomEpoch = (): string => Array.from(randomBytes(12), (byte) => ALPHABET[byte & 31]).join("");

/** Names a frame in replies: the first 128 bits of its SHA-256. */
export const batchKey = (frame: Uint8Array): string => createHash("sha256").update(frame).digest("hex").slice(0, 32);

/** A private key as a JWK (RFC 8037): as secret as what it signs. */
export interface PrivateKey extends PublicKey {
  readonly d: string;
}

export const keyIdOf = (key: PublicKey): KeyId => createHash("sha256").update(thumbprintText(key)).digest("base64url") as KeyId;

/** SHA-256 of a text or of bytes, in hexadecimal. In one call, since feeds need several for each line: 1.5 to 2 µs for a line, where a hash object takes 6 to 10 (Node 24, a busy machine). */
export const sha256Hex = (of: string | Uint8Array): string => hash("sha256", of, "hex");

/** Makes an Ed25519 key pair, on the machine that will use it. */
export const makeKeyPair = (): PrivateKey => generateKeyPairSync("ed25519").privateKey.export({ format: "jwk" }) as PrivateKey;

/** A signer that answers at once, without a promise. */
export interface LocalSigner extends Signer {
  sign(text: string): Signature;
}

/** A signer that uses a private key. Throws if the key is not one. */
export function signerOf(privateKey: PrivateKey): LocalSigner {
  const key = publicKeySchema.parse(privateKey);
  const secret = createPrivateKey({ key: { ...key, d: privateKey.d }, format: "jwk" });
  const kid = keyIdOf(key);
  return { kid, key, sign: (text): Signature => ({ kid, value: sign(null, Buffer.from(text), secret).toString("base64url") }) };
}

/** Keys that were parsed already: parsing one costs as much as a signature. */
const MAX_READ_KEYS = 10_000;
const readKeys = new Map<string, KeyObject>();

/** Whether a key has signed exactly this text. */
export function isSignedBy(key: PublicKey, text: string, signature: Signature): boolean {
  let known = readKeys.get(key.x);
  if (known === undefined) {
    if (readKeys.size >= MAX_READ_KEYS) readKeys.clear();
    known = createPublicKey({ key: { kty: key.kty, crv: key.crv, x: key.x }, format: "jwk" });
    readKeys.set(key.x, known);
  }
  return signature.kid === keyIdOf(key) && verify(null, Buffer.from(text), known, Buffer.from(signature.value, "base64url"));
}

/** Rights for the owner only: for people's data, and for the keys that sign for them. */
const OTHERS = 0o077;
const isRoot = process.getuid?.() === 0;

/** Whether many share a folder, such as /tmp: closing it would shut everybody out. */
const STICKY = 0o1000;
const isShared = (path: string, mode: number): boolean => (mode & STICKY) !== 0 || dirname(resolve(path)) === resolve("/");

function closeToOthers(path: string, mode: number, kind: "file" | "folder"): void {
  try {
    const found = statSync(path);
    // What is named by mistake (a folder for a database) belongs to somebody: whoever opens it refuses it, and it stays as it is.
    if (kind === "file" ? !found.isFile() : !found.isDirectory() || isShared(path, found.mode)) return;
    if ((found.mode & OTHERS) !== 0 && found.uid === (process.getuid?.() ?? found.uid)) chmodSync(path, mode);
  } catch {
    // A file system without rights, as on a memory card: there is nothing to close.
  }
}

const isFolder = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;

/**
 * Makes a folder, and those above it that are missing; one that is there stays as it is. Node's own `recursive` never returns where the system makes no
 * folders, as in /proc. Throws `path-unusable` there.
 */
export function makeFolder(path: string, mode = 0o777): void {
  const above = dirname(resolve(path));
  if (!existsSync(above)) makeFolder(above, mode);
  try {
    mkdirSync(path, { mode });
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EEXIST" && isFolder(path)) return;
    if (error instanceof Error && "code" in error && error.code === "ENOENT" && isFolder(above))
      throw new TributaryError("path-unusable", `the system makes no folders in ${above}`, "Name a place on a disk.", {
        cause: error,
      });
    throw error;
  }
}

/** Makes a folder that only its owner may enter (0700); one that is there is closed to others, unless many share it. */
export function ownFolder(path: string): void {
  makeFolder(path, 0o700);
  closeToOthers(path, 0o700, "folder");
}

/**
 * Makes a hub's folder if there is none. Only its owner may enter it; if root runs the hub, others may pass through it, since PostgreSQL then runs as another
 * user. A folder that is there stays as it is.
 */
export const hubFolder = (path: string): void => {
  makeFolder(path, isRoot ? 0o711 : 0o700);
};

/** Makes an empty file that only its owner may read (0600), if there is none. SQLite gives the same rights to the files that it makes beside it. */
export function ownNewFile(path: string): void {
  if (!existsSync(path)) closeSync(openSync(path, "a", 0o600));
}

/**
 * Takes an existing database file away from others (rights 0600), with the files that SQLite keeps beside it. Call it when the file has turned out to be the caller's own: any file
 * may be named by mistake, and such rights on /etc/passwd would shut everybody out. The file is never opened, because closing it again would release the locks that this process has on it as a database.
 */
export function closeDatabaseFile(path: string): void {
  for (const end of ["", "-wal", "-shm"]) closeToOthers(`${path}${end}`, 0o600, "file");
}

/**
 * User and password that a device with this token logs in with, at a broker that knows logins. Both are derived from the token, so that `site add` gives one
 * secret only. Neither reveals the token: the broker learns who may connect, and cannot send events in a site's name.
 */
export function siteLogin(token: string, org: string, site: string): { readonly user: string; readonly pass: string } {
  const derived = (what: string): string => createHash("sha256").update(`tributary ${what} 1\n${token}`).digest("base64url");
  return { user: `${org}.${site}.${derived("broker user").slice(0, 12)}`, pass: derived("broker password") };
}

/** The scheme of an `Authorization` header that proves to have a token without showing it. */
export const PROOF_SCHEME = "Proof";

/** The key for proofs, derived from a token's signature. Ed25519 is deterministic, so whoever holds the signing key can derive it again from the token's claims. */
export const proofKey = (signature: string): Buffer =>
  createHash("sha256").update(`tributary proof key 1\n${signature}`).digest();

/** The proof that whoever made `message` has the token whose signature gave `key`. */
export const proofOf = (key: Uint8Array, message: Uint8Array): string =>
  createHmac("sha256", key)
    .update("tributary message 1\n")
    .update(createHash("sha256").update(message).digest())
    .digest("base64url");

/**
 * The `Authorization` header of a message over a broker: the token's claims, and in place of its signature a proof that is good for this message only. Whoever
 * reads the header can only send this same message again, which does no harm. Text that is not a token goes as it is, and the hub says so.
 */
export function messageAuthorization(token: string, message: Uint8Array): string {
  const [, claims, signature] = /^([\w-]+\.[\w-]+)\.([\w-]+)$/.exec(token) ?? [];
  if (claims === undefined || signature === undefined) return `Bearer ${token}`;
  return `${PROOF_SCHEME} ${claims}.${proofOf(proofKey(signature), message)}`;
}
/** What a broker asks a client to sign: random, in base64url. No other text that a key signs has this shape, so a broker gets no other signature. */
const NONCE = /^[A-Za-z0-9_-]{8,64}$/;
/** How a user's public nkey begins, as a byte: its first letter is U. */
const NKEY_USER = 20 << 3;

/** A device's key as a broker knows it: `U…`, the nkey of a user. */
export function nkeyOf({ x }: PublicKey): string {
  const bytes = Buffer.concat([Buffer.from([NKEY_USER]), Buffer.from(x, "base64url")]);
  const sum = crc16(bytes);
  const whole = Buffer.concat([bytes, Buffer.from([sum & 0xff, sum >> 8])]);
  return base32(whole, (whole.length * 8) / 5).toUpperCase();
}

/** CRC-16/XMODEM. */
function crc16(bytes: Uint8Array): number {
  let sum = 0;
  for (const byte of bytes) {
    sum ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) sum = (sum & 0x8000 ? (sum << 1) ^ 0x1021 : sum << 1) & 0xffff;
  }
  return sum;
}

export type BrokerLogin = (nonce?: string) => { readonly nkey: string; readonly sig: string };

/** Logs in with a device's key: signs the broker's nonce, and nothing that could mean something elsewhere. */
export const nkeyLogin =
  (signer: LocalSigner): BrokerLogin =>
  (nonce) => {
    if (nonce === undefined || !NONCE.test(nonce)) return { nkey: nkeyOf(signer.key), sig: "" };
    return { nkey: nkeyOf(signer.key), sig: signer.sign(nonce).value };
  };

const CODE_ALPHABET = /^[a-z2-7]{32}$/;
/** So many letters of a code are the secret; the others name the hub's key. Each half has 80 bits. */
const SECRET_LETTERS = 16;
const base32 = (bytes: Uint8Array, letters: number): string => {
  let bits = 0n;
  for (const byte of bytes) bits = (bits << 8n) | BigInt(byte);
  const spare = BigInt(bytes.length * 8 - letters * 5);
  return Array.from(
    { length: letters },
    (_, i) => ALPHABET[Number((bits >> (spare + BigInt((letters - 1 - i) * 5))) & 31n)],
  ).join("");
};
const keyTag = (kid: KeyId): string =>
  base32(createHash("sha256").update(`tributary hub\n${kid}`).digest().subarray(0, 10), SECRET_LETTERS);

/** A one-time code as people read it: eight groups of four letters. Half of it is random, half names the hub's key, so each side can recognise the other. */
export const makeCode = (hub: KeyId): string =>
  `${base32(randomBytes(10), SECRET_LETTERS)}${keyTag(hub)}`.replace(/(....)(?!$)/g, "$1-");

/** A code's letters, however it was typed; `null` for anything else. */
export const readCode = (given: string): string | null => {
  const letters = given.toLowerCase().replace(/[\s-]/g, "").replaceAll("0", "o").replaceAll("1", "l").replaceAll("8", "b");
  return CODE_ALPHABET.test(letters) ? letters : null;
};

/** Whether a code names this key of a hub. */
export const namesHub = (code: string, hub: KeyId): boolean => code.slice(SECRET_LETTERS) === keyTag(hub);

/** What a hub keeps of a code. */
export const codeHash = (code: string): string =>
  createHash("sha256")
    .update(`tributary code\n${readCode(code) ?? ""}`)
    .digest("hex");

/** Sleeps until the time is over or `signal` aborts. */
export const pause = (ms: number, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done, { once: true });
  });

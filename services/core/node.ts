/** The platform functions that core asks for, as Node provides them. Core itself never imports this file. */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
  verify,
} from "node:crypto";
import { chmodSync, closeSync, existsSync, mkdirSync, openSync, statSync } from "node:fs";
import { getHeapStatistics, setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { constants as zlib, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import type { Compression } from "./batch.ts";
import type { ChainHash } from "./chain.ts";
import type { Hash } from "./ids.ts";
import { type KeyId, type PublicKey, publicKeySchema, type Signature, type Signer, thumbprintText } from "./signing.ts";

export const chainHash: ChainHash = (prev, text) => createHash("sha256").update(prev, "hex").update(text).digest("hex") as Hash;

/** Level 9: on batches of 100 small events 4 % smaller than level 3, and still far faster than any link. */
const LEVEL = 9;

export const zstd: Compression = {
  compress: (bytes) => zstdCompressSync(bytes, { params: { [zlib.ZSTD_c_compressionLevel]: LEVEL } }),
  decompress: (bytes, maxBytes) => zstdDecompressSync(bytes, { maxOutputLength: maxBytes }),
};

/** Garbage that is let lie. */
const MAX_GARBAGE_BYTES = 24 * 1_048_576;

/**
 * For long work that streams: V8 lets a heap grow to several times what lives in it before it looks (measured: 420 MiB resident for 35 that live). Who calls this between
 * two pages keeps to what lives and 24 MiB of garbage; a collection takes about 50 ms, each few thousand events.
 */
export function heapKeeper(): () => void {
  setFlagsFromString("--expose-gc");
  // What is young stays as large as it is: it would grow to 64 MiB, whatever lives.
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

/** Makes an Ed25519 key where it is to be used. */
export const makeKeyPair = (): PrivateKey => generateKeyPairSync("ed25519").privateKey.export({ format: "jwk" }) as PrivateKey;

/** A signer that need not be waited for. */
export interface LocalSigner extends Signer {
  sign(text: string): Signature;
}

/** Signs with a private key. Throws where the key is none. */
export function signerOf(privateKey: PrivateKey): LocalSigner {
  const key = publicKeySchema.parse(privateKey);
  const secret = createPrivateKey({ key: { ...key, d: privateKey.d }, format: "jwk" });
  const kid = keyIdOf(key);
  return { kid, key, sign: (text): Signature => ({ kid, value: sign(null, Buffer.from(text), secret).toString("base64url") }) };
}

/** Keys that were read: parsing one costs as much as a signature. */
const MAX_READ_KEYS = 10_000;
const readKeys = new Map<string, KeyObject>();

/** Whether a key has signed just this text. */
export function isSignedBy(key: PublicKey, text: string, signature: Signature): boolean {
  let known = readKeys.get(key.x);
  if (known === undefined) {
    if (readKeys.size >= MAX_READ_KEYS) readKeys.clear();
    known = createPublicKey({ key: { kty: key.kty, crv: key.crv, x: key.x }, format: "jwk" });
    readKeys.set(key.x, known);
  }
  return signature.kid === keyIdOf(key) && verify(null, Buffer.from(text), known, Buffer.from(signature.value, "base64url"));
}

const CODE_ALPHABET = /^[a-z2-7]{32}$/;
/** Letters of a code that are the secret; the others name the hub's key. 80 bits each. */
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

/** A one-time code as people read it: eight groups of four letters. Half of it is random, half names the hub's key, so that each side knows the other. */
export const makeCode = (hub: KeyId): string =>
  `${base32(randomBytes(10), SECRET_LETTERS)}${keyTag(hub)}`.replace(/(....)(?!$)/g, "$1-");

/** A code's letters, however it was typed; `null` for what is none. */
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

/** Nobody but the owner: people's data, and what signs for them. */
const OTHERS = 0o077;
const isRoot = process.getuid?.() === 0;

function closeToOthers(path: string, mode: number): void {
  try {
    const found = statSync(path);
    if ((found.mode & OTHERS) !== 0 && found.uid === (process.getuid?.() ?? found.uid)) chmodSync(path, mode);
  } catch {
    // A file system without rights, as on a memory card: nothing to close.
  }
}

/** Makes a folder that only its owner may enter (0700); one that is there is closed to others. */
export function ownFolder(path: string): void {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  closeToOthers(path, 0o700);
}

/**
 * Makes a hub's folder where there is none: for its owner, and where root runs it to be walked through, since PostgreSQL runs as another user there. One that is
 * there stays as it is.
 */
export const hubFolder = (path: string): void => {
  mkdirSync(path, { recursive: true, mode: isRoot ? 0o711 : 0o700 });
};

/**
 * Makes an empty file that only its owner may read (0600), or closes one that is there to others. SQLite gives its other files the same rights. A file that is
 * there is never opened: closing it again would take away the locks that this process has on it as a database.
 */
export function ownFile(path: string): void {
  if (existsSync(path)) closeToOthers(path, 0o600);
  else closeSync(openSync(path, "a", 0o600));
}

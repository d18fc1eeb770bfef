/**
 * Copies of an embedded node's database while it is at work. Only the node can open its database, so it makes the copy itself, when asked by a call of ours beside EventStoreDB's:
 *
 *   asked ─▶ copying, a few pages at a time between appends ─▶ done: a file in the node's own folder, as of the copy's end ─▶ taken away by the caller
 *               └ failed, or the caller is gone ─▶ removed
 *
 * The caller does not name a path: a caller who can reach the port must not be able to write files elsewhere.
 */
import { closeSync, existsSync, fsyncSync, openSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { backup, DatabaseSync } from "node:sqlite";
import { Client, credentials, Metadata, type ServerWritableStream, type ServiceError, status } from "@grpc/grpc-js";
import { messageOf, TributaryError } from "../../core/index.ts";
import { makeFolder } from "../../core/node.ts";
import { failure } from "./failures.ts";
import type { Store } from "./store/contract.ts";

/** How many pages of 4 KiB are copied at a time. Appends wait meanwhile: 256 pages keep them waiting for a few milliseconds. */
const PAGES = 256;
const PROGRESS_MS = 250;
const METHOD = "/tributary.Node/Copy";
const CONNECT_TIMEOUT_MS = 5_000;
const COPIES = "copies";

type Answer =
  | { readonly kind: "progress"; readonly done: number; readonly total: number }
  | { readonly kind: "copied"; readonly path: string };

const toBytes = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

/** Removes copies that nobody had taken away when the node last ended. */
export const removeCopies = (dataDir: string): void => rmSync(join(dataDir, COPIES), { recursive: true, force: true });

export const COPY_SERVICE = {
  copy: {
    path: METHOD,
    requestStream: false,
    responseStream: true,
    requestSerialize: toBytes,
    requestDeserialize: (bytes: Buffer): Buffer => bytes,
    responseSerialize: toBytes,
    responseDeserialize: (bytes: Buffer): Answer => JSON.parse(bytes.toString("utf8")) as Answer,
  },
} as const;

/** Answers calls for a copy, one at a time. */
export function copier(
  store: Pick<Store, "copyTo" | "dataDir">,
  log: (event: Record<string, unknown>) => void,
): (call: ServerWritableStream<Buffer, Answer>) => void {
  let isBusy = false;
  const copy = async (call: ServerWritableStream<Buffer, Answer>): Promise<void> => {
    if (store.dataDir === null) throw failure(status.FAILED_PRECONDITION, "the node keeps its events in memory");
    if (isBusy) throw failure(status.RESOURCE_EXHAUSTED, "another copy is being made");
    isBusy = true;
    const path = join(store.dataDir, COPIES, `${crypto.randomUUID()}.db`);
    try {
      makeFolder(dirname(path), 0o700);
      let lastMs = 0;
      await store.copyTo(path, PAGES, (done, total) => {
        if (performance.now() - lastMs < PROGRESS_MS || call.cancelled) return;
        lastMs = performance.now();
        call.write({ kind: "progress", done, total });
      });
      if (call.cancelled) throw new Error("the caller that asked for the copy is gone");
      call.write({ kind: "copied", path });
      log({ event: "copied", path });
    } catch (error) {
      rmSync(path, { force: true });
      throw error;
    } finally {
      isBusy = false;
    }
  };
  return (call) => {
    call.on("error", () => {});
    copy(call).then(
      () => call.end(),
      (error: unknown) => {
        log({ event: "copy-failed", error });
        call.emit("error", "code" in (error as object) ? error : failure(status.UNKNOWN, messageOf(error)));
      },
    );
  };
}

/**
 * Has a running node make a copy of its database, consistent as of the copy's end. Returns the copy's path, in the node's folder: the caller takes the copy away.
 * `null`: the server is not an embedded node.
 */
export async function copyRunning(
  url: string,
  onProgress: (share: number) => void = () => {},
): Promise<{ readonly path: string } | null> {
  // The embedded node speaks without TLS.
  if (!/[?&]tls=false/i.test(url)) return null;
  const address = /^[a-z+]+:\/\/(?:[^@/]*@)?([^/?,]+)/i.exec(url)?.[1] ?? url;
  const metadata = new Metadata();
  metadata.set("connection-name", /[?&]connectionName=([^&]+)/i.exec(url)?.[1] ?? "");
  const client = new Client(address, credentials.createInsecure());
  try {
    await new Promise<void>((resolve, reject) =>
      client.waitForReady(Date.now() + CONNECT_TIMEOUT_MS, (error) => (error === undefined ? resolve() : reject(error))),
    );
    const { requestSerialize, responseDeserialize } = COPY_SERVICE.copy;
    const answers = client.makeServerStreamRequest<Buffer, Answer>(
      METHOD,
      requestSerialize,
      responseDeserialize,
      Buffer.from("{}"),
      metadata,
    );
    let path: string | null = null;
    for await (const answer of answers as AsyncIterable<Answer>) {
      if (answer.kind === "progress") onProgress(answer.total === 0 ? 1 : answer.done / answer.total);
      else path = answer.path;
    }
    if (path === null) throw new Error("the node ended before the copy was complete");
    return { path };
  } catch (error) {
    if ((error as Partial<ServiceError>).code === status.UNIMPLEMENTED) return null;
    const full = /disk|space|full/i.test(messageOf(error));
    throw new TributaryError(
      full ? "disk-full" : "backend-failed",
      `the event node could not copy its database: ${messageOf(error)}`,
      full
        ? "Free as much space beside the database as it takes itself; the copy stands there until it is moved."
        : "See the node's log.",
      { cause: error },
    );
  } finally {
    client.close();
  }
}

/** Copies a database that others may be writing to, consistent as of the copy's end. */
export async function copyDatabase(from: string, to: string): Promise<void> {
  const db = new DatabaseSync(from);
  try {
    await backup(db, to, { rate: PAGES });
  } finally {
    db.close();
  }
}

/** What a node's database file holds. */
export interface CopyFacts {
  /** The last position; `"0"`: it holds nothing. */
  readonly end: string;
  readonly events: number;
}

/** Checks a copied database throughout, and leaves it as one file, flushed to disk. `isLog`: it is a node's database. Returns what it holds. Throws `data-corrupt`. */
export function sealCopy(path: string, isLog: boolean): CopyFacts {
  const corrupt = (problem: string, cause?: unknown): TributaryError =>
    new TributaryError("data-corrupt", `${path} is damaged: ${problem}`, "Make another backup, and check the disk.", { cause });
  if (!existsSync(path)) throw corrupt("it is not there");
  let facts: CopyFacts = { end: "0", events: 0 };
  const db = new DatabaseSync(path);
  try {
    db.exec("PRAGMA journal_mode = DELETE");
    const found = db.prepare("PRAGMA quick_check").all();
    const [first] = found;
    if (found.length !== 1 || first?.quick_check !== "ok") throw corrupt(String(first?.quick_check));
    if (isLog) {
      const row = db.prepare("SELECT max(position) AS end, count(*) AS events FROM event").get();
      facts = { end: String(row?.end ?? 0), events: Number(row?.events ?? 0) };
    }
  } catch (error) {
    throw error instanceof TributaryError ? error : corrupt(messageOf(error), error);
  } finally {
    db.close();
  }
  const file = openSync(path, "r+");
  fsyncSync(file);
  closeSync(file);
  return facts;
}

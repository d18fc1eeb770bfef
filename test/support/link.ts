import { type AddressInfo, createServer, connect as dial, type Socket } from "node:net";

export interface LinkOptions {
  /** Bytes a second, each way; all connections share it. */
  readonly bytesPerS: number;
  readonly delayMs: number;
  /** Cuts every connection each time that so many bytes went up; absent: never. Not by the clock: between two cuts, a busy machine carries as much as another. */
  readonly cutEveryBytes?: number;
}

/** A bad link: TCP to `to` with a rate, a delay and cuts. Nothing is buffered beyond what is under way, so that a cut loses what a real one would. */
export interface Link {
  readonly port: number;
  readonly cuts: number;
  readonly bytesUp: number;
  close(): Promise<void>;
}

const CHUNK_BYTES = 1_024;

/** One direction of the link, for all connections: bytes leave one after the other. */
function lane(bytesPerS: number): { reserve(bytes: number): number } {
  let freeAtMs = 0;
  return {
    reserve(bytes) {
      const now = performance.now();
      freeAtMs = Math.max(freeAtMs, now) + (bytes / bytesPerS) * 1000;
      return freeAtMs - now;
    },
  };
}

export async function openLink(to: { readonly host: string; readonly port: number }, options: LinkOptions): Promise<Link> {
  const { bytesPerS, delayMs, cutEveryBytes = Number.POSITIVE_INFINITY } = options;
  const up = lane(bytesPerS);
  const down = lane(bytesPerS);
  const open = new Set<Socket>();
  let cuts = 0;
  let bytesUp = 0;

  const cut = (): void => {
    cuts++;
    for (const socket of open) socket.destroy();
  };

  /** Takes a chunk from one side when the link has room for it, and hands it to the other after the delay. */
  const carry = async (from: Socket, into: Socket, way: { reserve(bytes: number): number }, count: boolean): Promise<void> => {
    try {
      for await (const data of from as AsyncIterable<Buffer>) {
        for (let at = 0; at < data.length; at += CHUNK_BYTES) {
          const chunk = data.subarray(at, at + CHUNK_BYTES);
          await new Promise((resolve) => setTimeout(resolve, way.reserve(chunk.length)));
          if (into.destroyed || from.destroyed) return;
          if (count) bytesUp += chunk.length;
          if (bytesUp >= (cuts + 1) * cutEveryBytes) return cut();
          setTimeout(() => into.destroyed || into.write(chunk), delayMs);
        }
      }
      setTimeout(() => into.end(), delayMs);
    } catch {
      into.destroy();
    }
  };
  const server = createServer({ highWaterMark: CHUNK_BYTES }, (near) => {
    const far = dial(to);
    for (const socket of [near, far]) {
      open.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        open.delete(socket);
        near.destroy();
        far.destroy();
      });
    }
    void carry(near, far, up, true);
    void carry(far, near, down, false);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    get cuts() {
      return cuts;
    },
    get bytesUp() {
      return bytesUp;
    },
    async close() {
      for (const socket of open) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

// @ts-check
/**
 * The questions that a real EventStoreDB answered in test/vectors/eventstore-23.10.6.json, asked through the official client. The
 * server must be empty, and keep its events in memory or be thrown away. Ids, times and absolute positions are made comparable.
 */
import * as es from "@eventstore/db-client";

const { EventStoreDBClient, binaryEvent, jsonEvent } = es;
/** A subscription that has sent nothing for this long has sent all. */
const QUIET_MS = 400;
const NO_ANSWER_MS = 3_000;

/** @param {string} url  @returns {Promise<Record<string, unknown>>} the answers by question */
export async function askAll(url) {
  const client = EventStoreDBClient.connectionString(url);
  const soft = EventStoreDBClient.connectionString(
    url.includes("throwOnAppendFailure") ? url : `${url}&throwOnAppendFailure=false`,
  );
  const uuid = (n) => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;
  let next = 1;
  const ev = (type = "t", data = {}, extra = {}) => jsonEvent({ id: uuid(next++), type, data, ...extra });
  const evs = (n, type) => Array.from({ length: n }, (_, i) => ev(type, { i }));
  const sleep = (ms) => new Promise((r) => setTimeout(r, ms));

  const plain = (v) =>
    typeof v === "bigint"
      ? `${v}n`
      : v instanceof Uint8Array
        ? { bytes: Buffer.from(v).toString("hex") }
        : v instanceof Date
          ? "<date>"
          : Array.isArray(v)
            ? v.map(plain)
            : v && typeof v === "object"
              ? Object.fromEntries(
                  Object.entries(v).map(([k, x]) => [
                    k,
                    k === "position"
                      ? x
                        ? "<position>"
                        : x
                      : k === "created"
                        ? typeof x
                        : k === "metastreamRevision"
                          ? "<revision>"
                          : plain(x),
                  ]),
                )
              : v;
  const error = (e) => ({
    error: e.type ?? e.name,
    message: String(e.message).split("\n")[0].slice(0, 160),
    ...(e.actualVersion !== undefined ? { actualVersion: plain(e.actualVersion) } : {}),
    ...(e.expectedVersion !== undefined ? { expectedVersion: plain(e.expectedVersion) } : {}),
  });
  const row = (r) =>
    r.event
      ? [
          r.event.streamId,
          plain(r.event.revision),
          r.event.type,
          r.event.isJson,
          plain(r.event.data),
          plain(r.event.metadata),
          ...(r.link ? [["link", r.link.streamId, plain(r.link.revision)]] : []),
        ]
      : ["no event", r.link?.streamId];
  const read = async (stream, opt) => {
    const out = [];
    for await (const r of client.readStream(stream, opt)) out.push(row(r));
    return out;
  };
  const all = async (opt) => {
    const out = [];
    for await (const r of client.readAll(opt))
      if (!r.event?.streamId.startsWith("$")) out.push([r.event.streamId, plain(r.event.revision), r.event.type]);
    return out;
  };
  const answers = {};
  /** Asks one question; an answer that takes over 8 s is recorded as "no answer". */
  const ask = async (name, fn) => {
    let timer;
    const late = new Promise((resolve) => {
      timer = setTimeout(resolve, NO_ANSWER_MS, "no answer");
    });
    try {
      answers[name] = plain(await Promise.race([fn(), late]));
    } catch (e) {
      answers[name] = error(e);
    } finally {
      clearTimeout(timer);
    }
  };
  /** Collects what a subscription delivers until it has been quiet for `quietMs`. */
  const listen = async (sub, during = async () => {}, quietMs = QUIET_MS) => {
    const out = [];
    let last = Date.now();
    const mark = (x) => {
      out.push(x);
      last = Date.now();
    };
    sub.on("data", (r) => {
      if (!r.event?.streamId.startsWith("$"))
        mark(r.event ? ["event", r.event.streamId, plain(r.event.revision), r.event.type] : ["?"]);
    });
    sub.on("caughtUp", () => mark("caughtUp"));
    sub.on("fellBehind", () => mark("fellBehind"));
    sub.on("error", (e) => mark(error(e)));
    sub.on("end", () => mark("end"));
    while (Date.now() - last < quietMs) await sleep(50);
    await during();
    last = Date.now();
    while (Date.now() - last < quietMs) await sleep(50);
    await sub.unsubscribe().catch(() => {});
    return out;
  };

  // --- append -----------------------------------------------------------------
  await ask("append to a new stream, any", () => client.appendToStream("a-1", evs(3)));
  await ask("append no_stream to a new stream", () => client.appendToStream("a-2", evs(2), { expectedRevision: "no_stream" }));
  await ask("append no_stream to an existing stream", () =>
    client.appendToStream("a-2", evs(1), { expectedRevision: "no_stream" }),
  );
  await ask("append stream_exists to a missing stream", () =>
    client.appendToStream("a-3", evs(1), { expectedRevision: "stream_exists" }),
  );
  await ask("append stream_exists", () => client.appendToStream("a-2", evs(1), { expectedRevision: "stream_exists" }));
  await ask("append exact revision", () => client.appendToStream("a-2", evs(1), { expectedRevision: 2n }));
  await ask("append revision behind", () => client.appendToStream("a-2", evs(1), { expectedRevision: 0n }));
  await ask("append revision ahead", () => client.appendToStream("a-2", evs(1), { expectedRevision: 9n }));
  await ask("append revision to a missing stream", () => client.appendToStream("a-4", evs(1), { expectedRevision: 0n }));
  await ask("append no events to a new stream", () => client.appendToStream("a-5", []));
  await ask("append no events, wrong revision", () => client.appendToStream("a-2", [], { expectedRevision: 77n }));
  await ask("failure without throwing", () => soft.appendToStream("a-2", evs(1), { expectedRevision: "no_stream" }));
  await ask("failure without throwing, revision", () => soft.appendToStream("a-2", evs(1), { expectedRevision: 0n }));
  await ask("binary event with binary metadata", () =>
    client.appendToStream(
      "a-6",
      binaryEvent({ id: uuid(next++), type: "b", data: Buffer.from([0, 255, 7]), metadata: Buffer.from([1, 2]) }),
    ),
  );
  await ask("read binary event", () => read("a-6"));
  await ask("json event with metadata, unicode", () =>
    client.appendToStream(
      "a-7",
      ev("naïve-型", { s: "Ünï 🌍", n: null, a: [1.5, -0, 1e21] }, { metadata: { $correlationId: "c", who: "é" } }),
    ),
  );
  await ask("read json event", () => read("a-7"));
  await ask("stream name with odd characters", async () => {
    await client.appendToStream("a b/ü-1.2~3", evs(1));
    return read("a b/ü-1.2~3");
  });
  await ask("append to a system stream", () => client.appendToStream("$odd", evs(1)));
  await ask("empty stream name", () => client.appendToStream("", evs(1)));
  await ask("event over one MiB", () => client.appendToStream("a-8", ev("big", { s: "x".repeat(1_100_000) })));
  await ask("append together over one MiB", () =>
    client.appendToStream(
      "a-9",
      Array.from({ length: 20 }, () => ev("big", { s: "x".repeat(100_000) })),
    ),
  );
  await ask("revision after the large append", async () => (await read("a-9")).length);
  // --- idempotence ------------------------------------------------------------
  const same = evs(3, "same");
  await ask("idem: first", () => client.appendToStream("i-1", same, { expectedRevision: "no_stream" }));
  await ask("idem: the same again, no_stream", () => client.appendToStream("i-1", same, { expectedRevision: "no_stream" }));
  await ask("idem: the same again, any", () => client.appendToStream("i-1", same));
  await ask("idem: the same again, stream_exists", () =>
    client.appendToStream("i-1", same, { expectedRevision: "stream_exists" }),
  );
  await ask("idem: prefix again, no_stream", () =>
    client.appendToStream("i-1", same.slice(0, 2), { expectedRevision: "no_stream" }),
  );
  await ask("idem: suffix again, revision 0", () => client.appendToStream("i-1", same.slice(1), { expectedRevision: 0n }));
  await ask("idem: suffix again, no_stream", () =>
    client.appendToStream("i-1", same.slice(1), { expectedRevision: "no_stream" }),
  );
  await ask("idem: same and one more, no_stream", () =>
    client.appendToStream("i-1", [...same, ...evs(1, "more")], { expectedRevision: "no_stream" }),
  );
  await ask("idem: same and one more, any", () => client.appendToStream("i-1", [...same, ...evs(1, "more2")]));
  await ask("idem: other content, same id, no_stream", () =>
    client.appendToStream("i-1", jsonEvent({ id: same[0].id, type: "other", data: { z: 1 } }), { expectedRevision: "no_stream" }),
  );
  await ask("idem: the same id in another stream", () => client.appendToStream("i-2", same, { expectedRevision: "no_stream" }));
  await client.appendToStream("i-1", evs(2, "later"));
  await ask("idem: the same again after later events, no_stream", () =>
    client.appendToStream("i-1", same, { expectedRevision: "no_stream" }),
  );
  await ask("idem: the same again after later events, any", () => client.appendToStream("i-1", same));
  await ask("idem: same id twice in one append", async () => {
    const e = ev("dup");
    return client.appendToStream("i-3", [e, e], { expectedRevision: "no_stream" });
  });
  await ask("idem: what the stream holds", async () => (await read("i-1")).map((r) => [r[1], r[2]]));
  await ask("idem: what stream 3 holds", async () => (await read("i-3")).map((r) => [r[1], r[2]]));
  // --- read a stream ----------------------------------------------------------
  await client.appendToStream("r-1", evs(10, "r"));
  const revs = async (opt) => (await read("r-1", opt)).map((r) => r[1]);
  await ask("read all forwards", () => revs({}));
  await ask("read backwards from end", () => revs({ direction: "backwards", fromRevision: "end" }));
  await ask("read backwards from start", () => revs({ direction: "backwards", fromRevision: "start" }));
  await ask("read forwards from 7", () => revs({ fromRevision: 7n }));
  await ask("read backwards from 3, two", () => revs({ direction: "backwards", fromRevision: 3n, maxCount: 2 }));
  await ask("read forwards from beyond the end", () => revs({ fromRevision: 50n }));
  await ask("read backwards from beyond the end", () => revs({ direction: "backwards", fromRevision: 50n, maxCount: 2 }));
  await ask("read forwards from end", () => revs({ fromRevision: "end" }));
  await ask("read max one", () => revs({ maxCount: 1 }));
  await ask("read max zero", () => revs({ maxCount: 0 }));
  await ask("read a missing stream", () => read("missing-1"));
  await ask("read a missing stream backwards", () => read("missing-1", { direction: "backwards", fromRevision: "end" }));
  // --- metadata, truncation, deletion ------------------------------------------
  await ask("metadata of a stream without", () => client.getStreamMetadata("r-1"));
  await ask("metadata of a missing stream", () => client.getStreamMetadata("missing-1"));
  await client.appendToStream("m-1", evs(6, "m"));
  await ask("set maxCount 2", () => client.setStreamMetadata("m-1", { maxCount: 2 }));
  await ask("get metadata", () => client.getStreamMetadata("m-1"));
  await ask("read with maxCount 2", async () => (await read("m-1")).map((r) => r[1]));
  await ask("read with maxCount 2, from 0, max 3", async () =>
    (await read("m-1", { fromRevision: 0n, maxCount: 3 })).map((r) => r[1]),
  );
  await ask("read with maxCount 2 backwards", async () =>
    (await read("m-1", { direction: "backwards", fromRevision: "end" })).map((r) => r[1]),
  );
  await ask("truncateBefore 5 and custom keys", () =>
    client.setStreamMetadata("m-1", { truncateBefore: 5, purpose: "x", acl: { readRoles: ["$all"] } }),
  );
  await ask("get metadata again", () => client.getStreamMetadata("m-1"));
  await ask("read with truncateBefore 5", async () => (await read("m-1")).map((r) => r[1]));
  await ask("truncateBefore beyond the end", async () => {
    await client.setStreamMetadata("m-1", { truncateBefore: 100 });
    return read("m-1");
  });
  await ask("append after truncation beyond the end", () => client.appendToStream("m-1", evs(1, "m")));
  await ask("metadata with wrong revision", () => client.setStreamMetadata("m-1", { maxCount: 3 }, { expectedRevision: 0n }));
  await ask("metadata stream as events", async () => (await read("$$m-1")).map((r) => [r[0], r[1], r[2], r[4]]));
  await ask("maxAge 1 s", async () => {
    await client.appendToStream("m-2", evs(2, "m"));
    await client.setStreamMetadata("m-2", { maxAge: 1 });
    await sleep(1600);
    return read("m-2");
  });
  await ask("append after maxAge", async () => {
    await client.appendToStream("m-2", evs(1, "m"));
    return (await read("m-2")).map((r) => r[1]);
  });
  await client.appendToStream("d-1", evs(3, "d"));
  await ask("delete with wrong revision", () => client.deleteStream("d-1", { expectedRevision: 1n }));
  await ask("delete", () => client.deleteStream("d-1", { expectedRevision: 2n }));
  await ask("read deleted", () => read("d-1"));
  await ask("delete again", () => client.deleteStream("d-1"));
  await ask("metadata of deleted", () => client.getStreamMetadata("d-1"));
  await ask("append to deleted with the old revision", () =>
    client.appendToStream("d-1", evs(1, "d2"), { expectedRevision: 2n }),
  );
  await ask("read re-created", async () => (await read("d-1")).map((r) => [r[1], r[2]]));
  await client.appendToStream("d-2", evs(2, "d"));
  await client.deleteStream("d-2");
  await ask("append no_stream to deleted", () => client.appendToStream("d-2", evs(1, "d2"), { expectedRevision: "no_stream" }));
  await ask("read after that", async () => (await read("d-2")).map((r) => [r[1], r[2]]));
  await client.appendToStream("d-3", evs(2, "d"));
  await client.deleteStream("d-3");
  await ask("append stream_exists to deleted", () =>
    client.appendToStream("d-3", evs(1, "d2"), { expectedRevision: "stream_exists" }),
  );
  await ask("delete a missing stream", () => client.deleteStream("missing-2"));
  await ask("delete a missing stream, no_stream", () => client.deleteStream("missing-3", { expectedRevision: "no_stream" }));
  await ask("delete a missing stream, stream_exists", () =>
    client.deleteStream("missing-4", { expectedRevision: "stream_exists" }),
  );
  await client.appendToStream("t-1", evs(2, "t"));
  await ask("tombstone with wrong revision", () => client.tombstoneStream("t-1", { expectedRevision: 0n }));
  await ask("tombstone", () => client.tombstoneStream("t-1", { expectedRevision: 1n }));
  await ask("read tombstoned", () => read("t-1"));
  await ask("append to tombstoned", () => client.appendToStream("t-1", evs(1, "t")));
  await ask("append to tombstoned without throwing", () => soft.appendToStream("t-1", evs(1, "t")));
  await ask("metadata of tombstoned", () => client.getStreamMetadata("t-1"));
  await ask("delete tombstoned", () => client.deleteStream("t-1"));
  await ask("tombstone a missing stream", () => client.tombstoneStream("t-2"));
  await ask("append to it", () => client.appendToStream("t-2", evs(1, "t")));
  // --- links --------------------------------------------------------------------
  await client.appendToStream("l-1", evs(2, "l"));
  await client.appendToStream("links", [
    es.binaryEvent({ id: uuid(next++), type: "$>", data: Buffer.from("1@l-1") }),
    es.binaryEvent({ id: uuid(next++), type: "$>", data: Buffer.from("9@l-1") }),
  ]);
  await ask("links unresolved", async () => (await read("links")).map((r) => [r[0], r[1], r[2]]));
  await ask("links resolved", async () => (await read("links", { resolveLinkTos: true })).map((r) => [r[0], r[1], r[2], r[6]]));
  // --- $all -----------------------------------------------------------------------
  await ask("$all forwards, the user's", async () => (await all({})).length);
  await ask("$all backwards, first five", async () => (await all({ direction: "backwards", fromPosition: "end" })).slice(0, 5));
  await ask("$all max 0", () => all({ maxCount: 0 }));
  await ask("$all holds system events", async () => {
    for await (const r of client.readAll()) if (r.event?.streamId.startsWith("$")) return true;
    return false;
  });
  await ask("$all still holds a deleted stream's events", async () => (await all({})).filter((r) => r[0] === "d-2").length);
  await ask("$all still holds truncated events", async () => (await all({})).filter((r) => r[0] === "m-1").length);
  await ask("$all still holds tombstoned events", async () => (await all({})).filter((r) => r[0] === "t-1").length);
  await ask("$all from a position is inclusive, forwards", async () => {
    const r = await client.appendToStream("p-1", evs(2, "p"));
    return all({ fromPosition: r.position });
  });
  await ask("$all from a position is exclusive, backwards", async () => {
    const r = await client.appendToStream("p-2", evs(2, "p"));
    return (await all({ fromPosition: r.position, direction: "backwards" })).slice(0, 2);
  });
  await ask("$all from a position that was never one", async () =>
    all({ fromPosition: { commit: 3n, prepare: 3n }, maxCount: 1 }),
  );
  // --- subscriptions ----------------------------------------------------------------
  await ask("subscribe a stream from start, then live", () =>
    listen(client.subscribeToStream("p-1"), () => client.appendToStream("p-1", evs(1, "live"))),
  );
  await ask("subscribe a stream from end", () =>
    listen(client.subscribeToStream("p-1", { fromRevision: "end" }), () => client.appendToStream("p-1", evs(2, "live"))),
  );
  await ask("subscribe a stream from revision 1 (exclusive)", () =>
    listen(client.subscribeToStream("p-1", { fromRevision: 1n })),
  );
  await ask("subscribe a missing stream, then it appears", () =>
    listen(client.subscribeToStream("p-9"), () => client.appendToStream("p-9", evs(1, "live"))),
  );
  await ask("subscribe a tombstoned stream", () => listen(client.subscribeToStream("t-1")));
  await ask("subscribe a stream that is tombstoned meanwhile", () =>
    listen(client.subscribeToStream("p-9"), () => client.tombstoneStream("p-9")),
  );
  await ask("subscribe a stream that is deleted meanwhile", async () => {
    await client.appendToStream("p-10", evs(1, "x"));
    return listen(client.subscribeToStream("p-10"), () => client.deleteStream("p-10"));
  });
  await ask("subscribe $all from end", () =>
    listen(client.subscribeToAll({ fromPosition: "end" }), async () => {
      await client.appendToStream("s-1", evs(2, "live"));
      await client.appendToStream("s-2", evs(1, "live"));
    }),
  );
  await ask("subscribe $all after a position (exclusive)", async () => {
    const r = await client.appendToStream("s-3", evs(2, "x"));
    return listen(client.subscribeToAll({ fromPosition: r.position }), () => client.appendToStream("s-3", evs(1, "y")));
  });
  const filters = {
    "stream prefix": es.streamNameFilter({ prefixes: ["s-", "p-2"] }),
    "stream regex": es.streamNameFilter({ regex: "^s-[13]$" }),
    "type prefix": es.eventTypeFilter({ prefixes: ["liv"] }),
    "type regex": es.eventTypeFilter({ regex: "^(x|y)$" }),
    "no system events": es.excludeSystemEvents(),
  };
  for (const [name, filter] of Object.entries(filters)) {
    await ask(`filter by ${name}`, async () => {
      const out = await listen(client.subscribeToAll({ filter, fromPosition: "start" }));
      return name === "no system events" ? out.filter((x) => x !== "caughtUp").length : out;
    });
  }
  await ask("checkpoints come with a filter", async () => {
    let n = 0;
    const sub = client.subscribeToAll({
      fromPosition: "start",
      filter: es.streamNameFilter({
        prefixes: ["none-"],
        checkpointInterval: 1,
        maxSearchWindow: 32,
        checkpointReached: async () => {
          n++;
        },
      }),
    });
    await listen(sub);
    return n > 0;
  });
  await ask("live checkpoints come with a filter", async () => {
    let n = 0;
    const sub = client.subscribeToAll({
      fromPosition: "end",
      filter: es.streamNameFilter({
        prefixes: ["none-"],
        checkpointInterval: 1,
        maxSearchWindow: 1,
        checkpointReached: async () => {
          n++;
        },
      }),
    });
    await listen(sub, () => client.appendToStream("s-9", evs(40, "x")));
    return n > 0;
  });
  // --- concurrency ---------------------------------------------------------------------
  await ask(
    "fifty writers, one revision: winners",
    async () =>
      (
        await Promise.all(Array.from({ length: 50 }, () => soft.appendToStream("c-1", evs(1), { expectedRevision: "no_stream" })))
      ).filter((r) => r.success).length,
  );
  await ask("two hundred appends in flight, any: stream length", async () => {
    await Promise.all(Array.from({ length: 200 }, () => client.appendToStream("c-2", evs(2))));
    const r = await read("c-2");
    return [r.length, r.every((x, i) => x[1] === `${i}n`)];
  });
  await ask("positions grow with time", async () => {
    const ps = [];
    for (let i = 0; i < 5; i++) ps.push((await client.appendToStream(`c-${10 + i}`, evs(1))).position.commit);
    return ps.every((p, i) => !i || p > ps[i - 1]);
  });

  return answers;
}

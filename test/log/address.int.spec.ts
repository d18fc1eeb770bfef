import { readFileSync } from "node:fs";
import { join } from "node:path";
import { AccessDeniedError, DeadlineExceededError, UnknownError } from "@eventstore/db-client";
import { GossipService } from "@eventstore/db-client/generated/gossip_grpc_pb.js";
import gossip from "@eventstore/db-client/generated/gossip_pb.js";
import shared from "@eventstore/db-client/generated/shared_pb.js";
import {
  Metadata,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServiceError,
  type sendUnaryData,
  status,
} from "@grpc/grpc-js";
import { describe, expect, it, onTestFinished } from "vitest";
import { freePort } from "../../services/local/index.ts";
import { logAddress } from "../../services/log/address.ts";
import { asTributary } from "../../services/log/client.ts";
import { type LogPage, openLog } from "../../services/log/index.ts";
import { type EmbeddedNode, startNode } from "../../services/log/node/index.ts";
import { oldWriter, person } from "../support/oldlog.ts";
import { all } from "../support/temp.ts";

const TLS = join(import.meta.dirname, "../vectors/tls");

async function node(): Promise<EmbeddedNode> {
  const started = await startNode();
  onTestFinished(() => started.close());
  return started;
}

async function serve(server: Server, credentials = ServerCredentials.createInsecure()): Promise<number> {
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", credentials, (error, bound) => (error === null ? resolve(bound) : reject(error))),
  );
  onTestFinished(() => server.forceShutdown());
  return port;
}

/** Tells clients which node leads and which follows, as each node of a cluster does. */
function gossiping(leaderPort: number, followerPort: number): Promise<number> {
  const server = new Server();
  const member = (port: number, state: number) => {
    const info = new gossip.MemberInfo();
    const endPoint = new gossip.EndPoint();
    endPoint.setAddress("127.0.0.1");
    endPoint.setPort(port);
    const id = new shared.UUID();
    id.setString("00000000-0000-0000-0000-000000000001");
    info.setInstanceId(id);
    info.setHttpEndPoint(endPoint);
    info.setIsAlive(true);
    info.setState(state);
    info.setTimeStamp(String(Date.now()));
    return info;
  };
  const states = gossip.MemberInfo.VNodeState;
  server.addService(GossipService as never, {
    read(_: ServerUnaryCall<unknown, unknown>, answer: sendUnaryData<unknown>) {
      const info = new gossip.ClusterInfo();
      info.setMembersList([member(leaderPort, states.LEADER), member(followerPort, states.FOLLOWER)]);
      answer(null, info);
    },
  });
  return serve(server);
}

describe("an event store's address", () => {
  it.each([
    ["esdb://127.0.0.1:2113?tls=false", "esdb://127.0.0.1:2113?tls=false", null],
    ["kurrentdb://u:p%40@a:2113,b:2113?tls=true", "esdb://u:p%40@a:2113,b:2113?tls=true", null],
    ["kurrentdb+discover://cluster?tlsCAFile=/ca.crt", "esdb+discover://cluster?tlsCAFile=/ca.crt", null],
    ["esdb://a,b?nodePreference=leader", "esdb://a,b?nodePreference=leader", null],
    [
      "esdb://a,b?tls=true&nodePreference=follower&x=1",
      "esdb://a,b?tls=true&nodePreference=leader&x=1",
      "esdb://a,b?tls=true&nodePreference=follower&x=1",
    ],
    [
      "kurrentdb://a,b?nodepreference=readOnlyReplica",
      "esdb://a,b?nodePreference=leader",
      "esdb://a,b?nodepreference=readOnlyReplica",
    ],
  ])("%s is taken", (url, leader, follower) => {
    expect(logAddress(url)).toEqual({ leader, follower });
  });

  it.each([
    "http://u:s3cret@a",
    "esdb://u:s3@cret@a",
    "esdb://u:s3cret@",
    "esdb://u:s3cret@a:b",
    "esdb://u:s3cret@a?tls=maybe",
    "esdb://u:s3cret@a?nodePreference=boss",
  ])("%s is refused, and its password is not shown", (url) => {
    const open = (): unknown => openLog(url);
    expect(open).toThrow(expect.objectContaining({ code: "usage" }));
    expect(open).not.toThrow(/s3|cret/);
  });

  it("that names a certificate file which is not there says which setting it is", () => {
    expect(() => openLog("kurrentdb://a:2113?tls=true&tlsCAFile=/nowhere/ca.crt")).toThrow(
      expect.objectContaining({ code: "not-found", message: expect.stringContaining("tlsCAFile") }),
    );
  });

  it("with the scheme of the newer name leads to the same server", async () => {
    const { url } = await node();
    await using log = openLog(url.replace("esdb://", "kurrentdb://"));
    await expect(log.end()).resolves.toBeTypeOf("bigint");
  });
});

it("an address that prefers followers, which may lag, lets the hub find what it has just written, and append; the hub follows the log at a follower", async () => {
  const [leader, follower] = [await node(), await node()];
  const port = await gossiping(leader.port, follower.port);
  await using log = openLog(`kurrentdb://127.0.0.1:${port},127.0.0.1:${port}?tls=false&nodePreference=follower`);
  const by = { how: "test" };
  for (let n = 0; n < 3; n++) {
    expect(await log.journal.append("facts", n - 1, { type: "noted", data: { n }, by })).not.toBeNull();
    expect((await log.journal.read("facts")).map(({ data }) => data)).toHaveLength(n + 1);
  }
  expect(await log.end()).not.toBeNull();
  // The follower lags for ever in this test: it has one event of its own, which only its own readers can see.
  await using there = openLog(follower.url);
  await oldWriter(there, "there").append(person("SEEN-BY-FOLLOWERS"));
  const stop = new AbortController();
  const pages = log.subscribe({ after: null, signal: stop.signal });
  const page = (await pages.next()).value as LogPage;
  expect(page.entries.map(({ head }) => head.entity.id)).toEqual(["SEEN-BY-FOLLOWERS"]);
  stop.abort();
  await pages.next();
  expect(await all(log.readOrigin(page.entries[0]!.head.origin))).toEqual([]);
});

describe("a failure of the event store says what to do:", () => {
  it("a certificate of an authority of your own needs tlsCAFile", async () => {
    const key = { private_key: readFileSync(join(TLS, "server.key")), cert_chain: readFileSync(join(TLS, "server.pem")) };
    const port = await serve(new Server(), ServerCredentials.createSsl(null, [key]));
    await using log = openLog(`esdb://localhost:${port}?tls=true`);
    await expect(log.end()).rejects.toMatchObject({
      code: "backend-unreachable",
      message: expect.stringContaining("certificate is not trusted"),
      hint: expect.stringContaining("tlsCAFile"),
    });
    // With that setting the server is trusted, and answers that it is not an event store.
    await using known = openLog(`esdb://localhost:${port}?tls=true&tlsCAFile=${encodeURIComponent(join(TLS, "ca.pem"))}`);
    await expect(known.end()).rejects.toMatchObject({ message: expect.not.stringContaining("certificate") });
  });

  it("nobody there", async () => {
    await using log = openLog(`esdb://127.0.0.1:${await freePort()}?tls=false`);
    await expect(log.end()).rejects.toMatchObject({ code: "backend-unreachable", hint: "Start it, or check its address." });
  });

  const grpc = (code: number, details: string): ServiceError =>
    Object.assign(new Error(`${code} ${status[code]}: ${details}`), { code, details, metadata: new Metadata() });
  it("a user without the right to read $all, another missing right, or a wrong password", () => {
    const denied = new AccessDeniedError(grpc(status.PERMISSION_DENIED, "Access Denied"));
    expect(asTributary("reading the log's end", denied)).toMatchObject({
      code: "backend-failed",
      hint: expect.stringContaining("$all"),
    });
    expect(asTributary("append", denied)).toMatchObject({ code: "backend-failed", hint: expect.not.stringContaining("$all") });
    const unknown = new UnknownError(grpc(status.UNAUTHENTICATED, "Unauthenticated"));
    expect(asTributary("append", unknown)).toMatchObject({ code: "backend-failed", hint: expect.stringContaining("password") });
  });

  it("a deadline that passed keeps its words, even if the client gives only the kind of failure", () => {
    const late = new DeadlineExceededError(grpc(status.DEADLINE_EXCEEDED, "Deadline exceeded after 10.001s"));
    expect(asTributary("append", late)).toMatchObject({
      code: "backend-unreachable",
      message: expect.stringContaining("Deadline exceeded after 10.001s"),
    });
    const silent = new DeadlineExceededError(undefined as never);
    expect(asTributary("append", silent)).toMatchObject({
      code: "backend-unreachable",
      message: expect.stringContaining("deadline-exceeded"),
    });
  });
});

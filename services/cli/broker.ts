import { resolve } from "node:path";
import { TributaryError } from "../core/index.ts";
import type { StreamSettings } from "../ingress/index.ts";
import type { NatsFiles } from "../local/index.ts";

/** The options of commands that connect to a broker, besides its address. */
export const NATS_OPTIONS = {
  "nats-creds": { type: "string" },
  "nats-nkey": { type: "string" },
  "nats-ca": { type: "string" },
  "nats-cert": { type: "string" },
  "nats-key": { type: "string" },
} as const;

type Text = (name: string) => string | undefined;

/** The files that a command's options name. */
export function natsFiles(text: Text): NatsFiles {
  const named = {
    creds: text("nats-creds"),
    nkeySeed: text("nats-nkey"),
    ca: text("nats-ca"),
    cert: text("nats-cert"),
    key: text("nats-key"),
  };
  return Object.fromEntries(Object.entries(named).filter(([, file]) => file !== undefined));
}

const VARIABLE_OF = {
  creds: "TRIBUTARY_NATS_CREDS",
  nkeySeed: "TRIBUTARY_NATS_NKEY",
  ca: "TRIBUTARY_NATS_CA",
  cert: "TRIBUTARY_NATS_CERT",
  key: "TRIBUTARY_NATS_KEY",
} as const satisfies Record<keyof NatsFiles, string>;

/** Makes the files that a command's options name those of this process and of all processes that it starts: a hub's workers connect by the same settings. */
export function useNatsFiles(text: Text): void {
  const files = natsFiles(text);
  if (files.creds !== undefined || files.nkeySeed !== undefined)
    for (const other of [
      "TRIBUTARY_NATS_USER",
      "TRIBUTARY_NATS_PASSWORD",
      "TRIBUTARY_NATS_TOKEN",
      VARIABLE_OF.creds,
      VARIABLE_OF.nkeySeed,
    ])
      delete process.env[other];
  for (const [setting, file] of Object.entries(files) as [keyof NatsFiles, string][])
    process.env[VARIABLE_OF[setting]] = resolve(file);
}

const MAX_REPLICAS = 5;
const MAX_BYTES = Number.MAX_SAFE_INTEGER;

/** How the broker is to keep the hub's streams, from the environment. */
export function streamSettings(env: Readonly<Record<string, string | undefined>> = process.env): StreamSettings {
  const replicas = whole(env, "TRIBUTARY_NATS_REPLICAS", MAX_REPLICAS);
  const ingressBytes = whole(env, "TRIBUTARY_NATS_MAX_BYTES", MAX_BYTES);
  const deadBytes = whole(env, "TRIBUTARY_NATS_DEAD_MAX_BYTES", MAX_BYTES);
  const cluster = env.TRIBUTARY_NATS_PLACEMENT_CLUSTER || undefined;
  const tags = env.TRIBUTARY_NATS_PLACEMENT_TAGS?.split(",")
    .map((tag) => tag.trim())
    .filter((tag) => tag !== "");
  return {
    ...(replicas === undefined ? {} : { replicas }),
    ...(ingressBytes === undefined ? {} : { ingressBytes }),
    ...(deadBytes === undefined ? {} : { deadBytes }),
    ...(cluster === undefined ? {} : { cluster }),
    ...(tags === undefined || tags.length === 0 ? {} : { tags }),
  };
}

function whole(env: Readonly<Record<string, string | undefined>>, name: string, max: number): number | undefined {
  const text = env[name];
  if (text === undefined || text === "") return undefined;
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= 1 && value <= max) return value;
  throw new TributaryError(
    "usage",
    `${name}=${JSON.stringify(text)} is not a whole number from 1 to ${max}`,
    "Correct the variable, or unset it; docs/production.md explains it.",
  );
}

/** `config.json`: what a hub keeps from one start to the next. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { nameOf, TributaryError } from "../core/index.ts";
import { hubFolder } from "../core/node.ts";
import { readJson, writeWhole } from "./files.ts";
import type { KeptFolders, Listen } from "./state.ts";

/** What a hub keeps from one start to the next. */
export interface HubConfig {
  readonly org: string;
  /** Where its own servers listen. */
  readonly ports?: { readonly nats?: number; readonly eventstore?: number; readonly postgres?: number };
  readonly listen?: Listen;
  readonly publicUrls?: readonly string[];
  /** Locations that have held its anchor. */
  readonly anchors?: readonly string[];
  /** The schemas and projections of its last start. */
  readonly folders?: KeptFolders;
}

const configFile = (dir: string): string => join(dir, "config.json");

/** What the hub has kept; empty before its first start. */
export function readConfig(dir: string): Partial<HubConfig> {
  const file = configFile(dir);
  return existsSync(file) ? (readJson(file) as Partial<HubConfig>) : {};
}

/** Keeps what is new or has changed; the rest stays. */
export function keepConfig(dir: string, news: Partial<HubConfig>): void {
  const kept = readConfig(dir);
  const next = { ...kept, ...news };
  if (JSON.stringify(next) !== JSON.stringify(kept)) writeWhole(configFile(dir), JSON.stringify(next, null, 2));
}

/** The hub's organisation: chosen at its first start and kept from then on. */
export function hubOrg(dir: string, given: string | undefined): string {
  hubFolder(dir);
  const kept = readConfig(dir).org;
  const org = nameOf("organisation", given ?? kept ?? "relief");
  if (kept !== undefined && kept !== org) {
    throw new TributaryError(
      "usage",
      `the hub in ${dir} belongs to ${kept}, not to ${org}`,
      "Leave out --org, or give the new hub a folder of its own.",
    );
  }
  keepConfig(dir, { org });
  return org;
}

/** What a run with faults knows: its folder, its hub, its tablets and what they wrote. */
import type { ChildProcess } from "node:child_process";
import { join } from "node:path";
import { ROOT } from "../../../services/cli/program.ts";
import { WAIT_MS } from "../patience.ts";

export const MAIN = join(ROOT, "services/cli/main.ts");
/** How long the hub may take to be well again after the last fault, and tablets to have all their receipts. */
export const QUIET_TIMEOUT_MS = 2 * WAIT_MS;
/** How long one sync may take before it is tried again. */
export const SYNC_TIMEOUT_MS = WAIT_MS / 4;

export const PROCESSES = ["eventstore", "nats", "postgres", "ingress", "projector"] as const;
export type Process = (typeof PROCESSES)[number];

export interface Tablet {
  readonly site: string;
  readonly device: string;
  readonly path: string;
}

export interface World {
  readonly dir: string;
  readonly data: string;
  readonly next: () => number;
  readonly say: (line: string) => void;
  readonly tablets: Tablet[];
  readonly tokens: Map<string, string>;
  /** Writes that must be in the log at the end, once. */
  readonly due: Set<string>;
  /** Writes whose every copy the run has destroyed, as far as it knows: in the log at most once. */
  readonly destroyed: Set<string>;
  /** Copies made on the way, to be put back later. */
  readonly tabletCopies: Map<string, string>;
  /** The log's own small file system, if it has one, so that it can be filled. */
  small: string | null;
  logCopy: string | null;
  backup: string | null;
  hub: ChildProcess | null;
  count: number;
}

export const pick = <T>(next: () => number, list: readonly T[]): T => list[Math.floor(next() * list.length)]!;

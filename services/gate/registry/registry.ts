import type { Position } from "../../core/index.ts";
import type { Finding, Level } from "../compatibility.ts";
import type { SchemaStore, SchemaText, SchemaVersion } from "../schema.ts";

/** Whether a subject takes new versions. READONLY_OVERRIDE and IMPORT of other registries are not spoken here. */
export const MODES = ["READWRITE", "READONLY"] as const;
export type Mode = (typeof MODES)[number];

/** A registered version, with what the registry knows of it. */
export interface Registered {
  readonly schema: SchemaVersion;
  /** The same number for the same text, in whatever subject: the how-manieth distinct text of the log it is. Counts from 1. */
  readonly id: number;
  /** The same UUID for the same text, in whatever log. */
  readonly guid: string;
  readonly actor: string;
  readonly registeredAtMs: number;
  readonly position: Position;
  /** Hidden from lists; its data is read as ever. */
  readonly deleted: boolean;
}

export type Registration =
  /** Another hub has the say over the subject: the text is kept as a proposal to it. */
  | { readonly kind: "proposed"; readonly authority: string }
  | { readonly kind: "registered"; readonly version: Registered; readonly isNew: boolean }
  | { readonly kind: "incompatible"; readonly findings: readonly Finding[]; readonly level: Level };

/** A schema that a device writes with, waiting for somebody to register it. */
export interface Proposal extends SchemaText {
  readonly subject: string;
  readonly version: number;
  readonly fingerprint: string;
  readonly by: string;
  readonly proposedAtMs: number;
  /** The organisation whose hub proposes it to the hub that has the say over the subject. Absent: a device does. */
  readonly org?: string;
}

export interface RegisterOptions {
  readonly actor: string;
  /** Takes this version number only; for files that are numbered. */
  readonly version?: number;
  /** Takes a text that differs in its layout only for the same, and keeps a new one in its normal form. */
  readonly normalize?: boolean;
  /** One of many: whoever registers them calls `announce` after the last. */
  readonly isOneOfMany?: boolean;
}

export interface FindOptions {
  /** Finds a text that differs in its layout only. */
  readonly normalize?: boolean;
  readonly withDeleted?: boolean;
}

export interface Registry extends SchemaStore {
  /** Registers a text as the subject's next version, once: the same text again gives the same version. A subject of another hub's gets a proposal instead. */
  register(subject: string, given: SchemaText, options: RegisterOptions): Promise<Registration>;
  /** What would keep a text from being registered, by the level in force or another. Nothing is written. Throws `schema-malformed`. */
  check(
    subject: string,
    given: SchemaText,
    options?: { readonly level?: Level; readonly against?: readonly number[]; readonly actor?: string },
  ): Promise<readonly Finding[]>;
  /** The version that holds this very schema. */
  find(subject: string, given: SchemaText, options?: FindOptions): Registered | undefined;
  registered(subject: string, options?: { readonly withDeleted?: boolean }): readonly Registered[];
  byId(id: number): readonly Registered[];
  /** The highest id that a schema has; 0 without any. */
  maxId(): number;
  /** The organisation whose hub has the say over a subject, which its first registration says; `null`: each hub, or the subject does not exist. */
  authority(subject: string): string | null;
  /**
   * Writes the events by which others learn of what is registered, where these are missing; returns how many. Called by each change; where that failed, it is made good by the next
   * call. Rejects while the log cannot be written.
   */
  announce(): Promise<number>;
  level(subject: string | null): Level;
  /** The level that a subject was given itself. */
  ownLevel(subject: string | null): Level | null;
  /** Throws `schema-readonly` where the subject, or the whole registry, is closed; `not-permitted` where another hub has the say over it. */
  setLevel(subject: string | null, level: Level | null, actor: string): Promise<void>;
  /** Whether clients' texts are taken in their normal form, without asking for it each time; `own…`: what a subject was given itself. */
  normalizes(subject: string | null): boolean;
  ownNormalize(subject: string | null): boolean | null;
  /** Throws `schema-readonly`, `not-permitted`. */
  setNormalize(subject: string | null, normalize: boolean | null, actor: string): Promise<void>;
  mode(subject: string | null): Mode;
  ownMode(subject: string | null): Mode | null;
  /** Throws `not-permitted`. */
  setMode(subject: string | null, mode: Mode | null, actor: string): Promise<void>;
  /** Throws `schema-readonly`, `not-permitted`. */
  setDeleted(subject: string, version: number, deleted: boolean, actor: string): Promise<void>;
  /** Notes a schema that a device writes with and that is not registered; once for each text. `false`: it is not a schema, or too many wait. */
  propose(subject: string, version: number, given: SchemaText, actor: string): Promise<boolean>;
  /** What devices have proposed, and nobody has registered or turned down. */
  proposals(): readonly Proposal[];
  /** Takes a proposal off the list. */
  dismiss(subject: string, version: number, fingerprint: string, actor: string): Promise<void>;
  /** Makes sure that what others have registered for a subject is known here. */
  refresh(subject: string): Promise<void>;
  onChange(listener: (subject: string) => void): () => void;
  close(): void;
}

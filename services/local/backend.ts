/** How a server's process ended. */
export interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
}

/** A server that the hub uses, no matter who started it. */
export interface Backend {
  readonly name: "nats" | "eventstore" | "postgres";
  readonly url: string;
  readonly how: "environment" | "container" | "path" | "embedded" | "installed";
  /** The server's process, if it is ours; for a container, what the engine says, if it can. */
  readonly pid: number | null;
  /** The container's name, if the server runs in one. */
  readonly container: string | null;
  /** One line for people. */
  readonly detail: string;
  /** Resolves when the server's process has ended; never for one that is not ours. */
  readonly exited: Promise<Ended>;
  /** Resolves when the server answers; throws when it does not. */
  probe(): Promise<void>;
  close(): Promise<void>;
}

/** What people call the servers. */
export const TITLES: Readonly<Record<Backend["name"], string>> = {
  nats: "NATS",
  eventstore: "the event store",
  postgres: "PostgreSQL",
};

export interface StartOptions {
  /** Where the servers keep their data between runs. */
  readonly dataDir: string;
  /** The port that was asked for; it is an error when another program has it. */
  readonly port?: number;
  /** The port of the last run. If another program has taken it, another port is chosen, and the user is told. Without both ports, a free one is chosen. */
  readonly lastPort?: number;
  readonly say?: (line: string) => void;
  /** More arguments for the embedded event node. */
  readonly eventstoreArgs?: readonly string[];
  /**
   * Whether servers get process groups of their own: then Ctrl-C at the terminal reaches this program only, which must end them in order. Otherwise the
   * servers end with the program that started them at a terminal.
   */
  readonly ownGroups?: boolean;
  /** Interrupts a start: servers that were already started are ended, and the start throws. */
  readonly signal?: AbortSignal;
}

export const never: Promise<never> = new Promise(() => {});

export const fromEnvironment = (
  name: Backend["name"],
  variable: string,
  url: string,
  probe: (url: string) => Promise<void>,
): Backend => ({
  name,
  url,
  how: "environment",
  pid: null,
  container: null,
  detail: `the server that ${variable} names`,
  exited: never,
  probe: () => probe(url),
  close: async () => {},
});

/** The port in a server's address. */
export const portOf = (url: string): number => Number(/:(\d+)(?:[/?]|$)/.exec(url.replace(/^[a-z+]+:\/\//, ""))?.[1] ?? 0);

/** A server that the hub uses, however it came to run. */
export interface Backend {
  readonly name: "nats" | "eventstore" | "postgres";
  readonly url: string;
  readonly how: "environment" | "container" | "path" | "embedded" | "installed";
  /** The server's process, where it is ours. */
  readonly pid: number | null;
  /** One line for people. */
  readonly detail: string;
  /** Resolves when the server's process has ended; never for one that is not ours. */
  readonly exited: Promise<unknown>;
  close(): Promise<void>;
}

export interface StartOptions {
  /** Where the servers keep their data between runs. */
  readonly dataDir: string;
  /** The port to listen on; default a free one. */
  readonly port?: number;
  readonly say?: (line: string) => void;
  /** More arguments for the embedded event node. */
  readonly eventstoreArgs?: readonly string[];
}

export const never: Promise<never> = new Promise(() => {});

export const fromEnvironment = (name: Backend["name"], variable: string, url: string): Backend => ({
  name,
  url,
  how: "environment",
  pid: null,
  detail: `the server that ${variable} names`,
  exited: never,
  close: async () => {},
});

/** A link to the log that is made again, after growing pauses, when it was lost. */
export interface Relinking {
  /** The next pause. It is set back when the server is heard from again. */
  pauseMs: number;
  retry: NodeJS.Timeout | undefined;
}

const MAX_PAUSE_MS = 5_000;

/** Makes the link again after a pause. The next pause is twice as long, at most 5 s. */
export function relink(link: Relinking, resume: () => Promise<void>): void {
  link.retry = setTimeout(() => void resume(), link.pauseMs);
  link.pauseMs = Math.min(link.pauseMs * 2, MAX_PAUSE_MS);
}

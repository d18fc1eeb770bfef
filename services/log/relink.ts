/** A link to the log that was lost, and is made anew after growing pauses. */
export interface Relinking {
  /** The next pause. Whoever hears from the server again sets it back. */
  pauseMs: number;
  retry: NodeJS.Timeout | undefined;
}

const MAX_PAUSE_MS = 5_000;

/** Has the link made anew after a pause; the next one is twice as long, 5 s at most. */
export function relink(link: Relinking, resume: () => Promise<void>): void {
  link.retry = setTimeout(() => void resume(), link.pauseMs);
  link.pauseMs = Math.min(link.pauseMs * 2, MAX_PAUSE_MS);
}

/**
 * What a hub refused, or why it was not reached: what happened (`message`), what to do about it (`hint`) and a stable `code`, one of docs/errors.md. A newer hub may know more codes, so it is text.
 * `status` is that of the answer over HTTP: 200 where the hub answered and refused one part of the question, 0 where there was no answer.
 *
 *   catch (error) { if (error instanceof HubError && error.code === "right-missing") … }
 */
export class HubError extends Error {
  override readonly name = "HubError";
  readonly code: string;
  readonly hint: string;
  readonly status: number;

  constructor(code: string, message: string, hint: string, options: { readonly status?: number; readonly cause?: unknown } = {}) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.code = code;
    this.hint = hint;
    this.status = options.status ?? 0;
  }
}

/** What the program itself got wrong, before anything was asked. */
export const misused = (message: string, hint: string): HubError => new HubError("usage", message, hint);

/** The result of `work`, or a failure that says `late` when it takes longer: for what may wait for ever on a link that went dead without a word. */
export async function within<T>(timeoutMs: number, work: Promise<T>, late: string): Promise<T> {
  const over = Promise.withResolvers<never>();
  const timer = setTimeout(() => over.reject(new Error(`${late} in ${timeoutMs / 1_000} s`)), timeoutMs);
  try {
    return await Promise.race([work, over.promise]);
  } finally {
    clearTimeout(timer);
  }
}

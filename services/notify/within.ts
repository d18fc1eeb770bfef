/** Returns the result of `work`, or fails with `late` if it takes longer. For work that may wait forever on a link that died silently. */
export async function within<T>(timeoutMs: number, work: Promise<T>, late: string): Promise<T> {
  const over = Promise.withResolvers<never>();
  const timer = setTimeout(() => over.reject(new Error(`${late} in ${timeoutMs / 1_000} s`)), timeoutMs);
  try {
    return await Promise.race([work, over.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * The path and the query of a request's address, as routes are matched with them: without a host (a proxy may send one), without `.` and `..`, and with each `%`
 * that escapes nothing escaped itself, so that it is text like any other. `null`: it cannot be read.
 */
export function addressOf(url: string): string | null {
  const parsed = URL.parse(url, "http://hub");
  if (parsed === null) return null;
  return parsed.pathname.split("/").map(decodable).join("/") + parsed.search;
}

function decodable(part: string): string {
  try {
    decodeURIComponent(part);
    return part;
  } catch {
    return part.replaceAll("%", "%25");
  }
}

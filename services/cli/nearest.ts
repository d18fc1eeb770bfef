/** "Did you mean …": which known word is nearest to one that somebody has typed. */

/** How many letters must be put in, left out, replaced or swapped with their neighbour to turn one word into the other. */
export function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const isSame = a[i - 1] === b[j - 1];
      const isSwapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      row[j] = Math.min(
        (last[j] ?? 0) + 1,
        (row[j - 1] ?? 0) + 1,
        (last[j - 1] ?? 0) + (isSame ? 0 : 1),
        isSwapped ? (beforeLast[j - 2] ?? 0) + 1 : Infinity,
      );
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length] ?? 0;
}

/** A third of the letters may be wrong: beyond that a guess is noise. */
const isNear = (distance: number, typed: string): boolean => distance <= Math.max(1, Math.floor(typed.length / 3));

/** The known word nearest to `typed`; `null` where none is near. Of equally near words it is the first that begins with the same letter, else the first. */
export function nearest(typed: string, known: readonly string[]): string | null {
  const [best] = known
    .map((word) => ({ word, distance: editDistance(typed.toLowerCase(), word.toLowerCase()) }))
    .filter(({ distance }) => isNear(distance, typed))
    .sort((a, b) => a.distance - b.distance || Number(b.word[0] === typed[0]) - Number(a.word[0] === typed[0]));
  return best?.word ?? null;
}

/**
 * The command that somebody most likely meant by the words `typed` (`sites list` → `site list`, `list sites` → `site list`, `verify` → `audit verify`);
 * `null` where none is near.
 */
export function nearestCommand(typed: readonly string[], names: readonly string[]): string | null {
  const [first = "", second = ""] = typed.map((word) => word.toLowerCase());
  const pair = `${first} ${second}`.trim();
  const firsts = [...new Set(names.map((name) => name.split(" ")[0] ?? name))];
  const group = firsts.includes(first) ? first : nearest(first, firsts);
  const inGroup = names.filter((name) => name.startsWith(`${group} `));
  if (second !== "" && inGroup.length > 0) {
    // The group is known; only the word after it is compared, so that `site remove` never becomes another group's command.
    const word = nearest(
      second,
      inGroup.map((name) => name.slice(`${group} `.length)),
    );
    if (word !== null) return `${group} ${word}`;
  }
  const whole = nearest(pair, names) ?? (second === "" ? null : nearest(`${second} ${first}`, names));
  if (whole !== null) return whole;
  const [only, ...others] = names.filter((name) => name.endsWith(` ${first}`));
  if (only !== undefined && others.length === 0) return only;
  // One word names a command or a group of commands; where more words follow, they are its arguments.
  return group !== null && (inGroup.length > 0 || names.includes(group)) && group !== first ? group : null;
}

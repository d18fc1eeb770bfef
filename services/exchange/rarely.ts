import type { Seal } from "./store.ts";

/** For so long the newest seal is not looked up again, unless somebody knows of a later one. */
const NEWEST_MS = 250;

interface Asked {
  readonly answer: Promise<Seal>;
  readonly atMs: number;
  /** It has no answer yet, however long that takes: another question beside it might be answered first, and the later answer would look like a seal that was taken back. */
  isPending: boolean;
}

/**
 * Asks at most once in a while, whoever asks; those who ask meanwhile get the same answer. Who knows of a later seal than that gets what was asked after it came: no seal that somebody was told, at whatever door,
 * is later than that. All who wait for this share it, so one question is under way at a time, whatever they claim to know.
 */
export function rarely(ask: () => Promise<Seal>, nowMs: () => number): (told?: number) => Promise<Seal> {
  let asked: Asked | null = null;
  const askNow = (): Asked => {
    const mine: Asked = { answer: ask(), atMs: nowMs(), isPending: true };
    asked = mine;
    mine.answer.then(
      () => {
        mine.isPending = false;
      },
      () => {
        if (asked === mine) asked = null;
      },
    );
    return mine;
  };
  return async (told = 0) => {
    const before = asked !== null && (asked.isPending || nowMs() - asked.atMs < NEWEST_MS) ? asked : null;
    if (before === null) return askNow().answer;
    const seal = await before.answer;
    if (seal.number >= told) return seal;
    return (asked === null || asked === before ? askNow() : asked).answer;
  };
}

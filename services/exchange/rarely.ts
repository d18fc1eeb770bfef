import type { Seal } from "./store.ts";

/** For so long the newest seal is not looked up again, unless somebody knows of a later one. */
const NEWEST_MS = 250;

interface Asked {
  readonly answer: Promise<Seal>;
  readonly atMs: number;
}

/**
 * Asks at most once in a while, whoever asks; those who ask meanwhile get the same answer. Who knows of a later seal than that gets what was asked after it came: no seal that somebody was told, at whatever door,
 * is later than that. All who wait for this share it, so one question is under way at a time, whatever they claim to know.
 */
export function rarely(ask: () => Promise<Seal>, nowMs: () => number): (told?: number) => Promise<Seal> {
  let asked: Asked | null = null;
  const askNow = (): Asked => {
    const mine = { answer: ask(), atMs: nowMs() };
    asked = mine;
    mine.answer.catch(() => {
      if (asked === mine) asked = null;
    });
    return mine;
  };
  return async (told = 0) => {
    const before = asked !== null && nowMs() - asked.atMs < NEWEST_MS ? asked : null;
    if (before === null) return askNow().answer;
    const seal = await before.answer;
    if (seal.number >= told) return seal;
    return (asked === null || asked === before ? askNow() : asked).answer;
  };
}

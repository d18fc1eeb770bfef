/** Which of the run's writes the hub's log holds. */
import { openLog } from "../../../services/log/index.ts";
import { sleep } from "../temp.ts";
import { stateOf } from "./hub.ts";
import { keyOf, keysOn } from "./tablets.ts";
import type { World } from "./world.ts";

export async function keysInLog(world: World): Promise<Map<string, string[]>> {
  const found = new Map<string, string[]>();
  const log = openLog(stateOf(world).eventstoreUrl);
  try {
    for await (const { head, content } of log.readAll()) {
      const data = content.kind === "accepted" ? content.data : (JSON.parse(content.text) as Record<string, unknown>);
      const key = head.actor === "soak" ? keyOf(data) : null;
      if (key !== null) found.set(key, [...(found.get(key) ?? []), `${head.origin}/${head.seq}`]);
    }
  } finally {
    await log.close();
  }
  return found;
}

/** Notes as destroyed what was lost with a file and stands nowhere else: the run did that, not the program. */
export async function destroy(world: World, lost: Iterable<string>): Promise<void> {
  const elsewhere = new Set<string>();
  for (const { path } of world.tablets) for (const key of keysOn(path)) elsewhere.add(key);
  const inLog = await whenTheLogAnswers(world);
  for (const key of lost) {
    if (elsewhere.has(key) || inLog.has(key) || !world.due.delete(key)) continue;
    world.destroyed.add(key);
  }
}

export async function whenTheLogAnswers(world: World): Promise<Map<string, string[]>> {
  for (let tries = 0; ; tries++) {
    try {
      return await keysInLog(world);
    } catch (error) {
      if (tries > 60) throw error;
      await sleep(500);
    }
  }
}

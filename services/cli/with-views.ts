import { connectViews, type Db } from "../views/index.ts";
import { runningHub } from "./reach.ts";

/** Runs `work` with a connection to the hub's views. */
export async function withViews<T>(data: string | undefined, work: (db: Db) => Promise<T>): Promise<T> {
  const { postgresUrl } = await runningHub(data, ["postgres"]);
  const db = await connectViews(postgresUrl, "tributary-cli");
  try {
    return await work(db);
  } finally {
    await db.end();
  }
}

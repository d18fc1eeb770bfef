import { expect, it } from "vitest";
import { makeKeyPair, signerOf, zstd } from "../../services/core/node.ts";
import { decodePage, encodePage, pageText } from "../../services/exchange/protocol/index.ts";
import { bucketOf, pagesOf, reading, sitesLog, writing } from "../support/pages.ts";

it("measures", async () => {
  const log = await sitesLog();
  console.log(
    log.length,
    log.slice(100, 104).map((e) => e.text),
  );
  const signer = signerOf(makeKeyPair());
  const sign = (digest: string) => signer.sign(pageText("n".repeat(22), digest));
  const show = (name: string, pages: ReturnType<typeof pagesOf>) => {
    let bytes = 0,
      raw = 0;
    const t = performance.now();
    const frames = pages.map((p) => encodePage(p, { ...writing, sign }));
    const t1 = performance.now();
    for (const [i, f] of frames.entries()) {
      bytes += f.length;
      raw += encodePage(pages[i]!, { ...writing, compression: null }).length;
    }
    const t2 = performance.now();
    const back = frames.map((f) => decodePage(f, reading));
    const t3 = performance.now();
    expect(back[0]!.page).toEqual(pages[0]);
    const n = pages.length * 100;
    console.log(
      name,
      pages.length,
      "pages",
      (bytes / n).toFixed(1),
      "bytes/event; raw",
      (raw / n).toFixed(1),
      "enc µs/ev",
      (((t1 - t) * 1000) / n).toFixed(1),
      "dec",
      (((t3 - t2) * 1000) / n).toFixed(1),
    );
  };
  const byType = (e: (typeof log)[number]) => bucketOf(e.head.entity.type);
  show("all", pagesOf(log, 100, byType));
  show("all again", pagesOf(log, 100, byType));
  const bySite = (e: (typeof log)[number]) => bucketOf(e.head.entity.type, e.head.origin.split(".")[1]!);
  show("by site", pagesOf(log, 100, bySite));
  for (const t of ["beneficiary", "distribution", "assessment"])
    show(
      t,
      pagesOf(
        log.filter((e) => e.head.entity.type === t),
        100,
        byType,
      ),
    );
  const d = (t: string | null) => (JSON.parse(t!) as { district?: string }).district;
  show(
    "district",
    pagesOf(
      log.filter((e) => d(e.text) === "Northern Bari"),
      100,
      byType,
    ),
  );
});

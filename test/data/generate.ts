/**
 * Writes the CSV files beside this one: three sites' beneficiaries, distributions and assessments, all invented. The same seed
 * gives the same bytes: `node test/data/generate.ts`.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const SEED = 20260503;

interface Site {
  readonly name: string;
  readonly code: string;
  readonly districts: readonly (readonly [district: string, villages: readonly string[]])[];
  readonly given: { readonly female: readonly string[]; readonly male: readonly string[] };
  readonly family: readonly string[];
  readonly phone: string;
  readonly languages: readonly string[];
  readonly newline: string;
  readonly bom: boolean;
}

const SITES: readonly Site[] = [
  {
    name: "nairobi",
    code: "NBO",
    districts: [
      ["Kamukunji", ["Eastleigh North", "Eastleigh South", "Pumwani"]],
      ["Kasarani", ["Githurai", "Mwiki", "Njiru"]],
      ["Embakasi", ["Pipeline", "Tassia", "Mukuru kwa Njenga"]],
    ],
    given: {
      female: ["Amina", "Fadumo", "Hodan", "Wanjikũ", "Njeri", "ሰላም", "ትርሓስ", "فاطمة", "Zeinab", "Ifrah", "Mwĩkali", "Saado"],
      male: ["Abdi", "Farah", "Warsame", "Kamau", "Mũthoni", "ዮሃንስ", "ተስፋይ", "عبد الرحمن", "Ismail", "Otieno", "Jirde", "Liban"],
    },
    family: ["Xasan", "Cabdulle", "Warsame", "Wambũi", "ገብረመድህን", "ተኽለ", "محمد", "Nuur", "Odhiambo", "O’Dera", "Maxamed", "Kĩmani"],
    phone: "+2547",
    languages: ["so", "sw", "ti", "ar", "ki"],
    newline: "\n",
    bom: true,
  },
  {
    name: "kampala",
    code: "KLA",
    districts: [
      ["Kampala Central", ["Kisenyi", "Nakasero", "Old Kampala"]],
      ["Makindye", ["Nsambya", "Katwe", "Ggaba"]],
      ["Rubaga", ["Mengo", "Namirembe", "Kasubi"]],
    ],
    given: {
      female: ["Nakato", "Babirye", "Espérance", "Furaha", "Aisha", "Ŋgudu", "Chantal", "Léontine", "Nyamvula", "መብራህት", "حليمة", "Akello"],
      male: ["Wasswa", "Kato", "Jean-Baptiste", "Bahati", "Okello", "Désiré", "Mugisha", "Tumaini", "أحمد", "ኣማኑኤል", "Opio", "Célestin"],
    },
    family: ["Nakitto", "Ssemwogerere", "Mbusa", "Kavira", "Ochieng’", "Byaruhanga", "Nzabonimpa", "Mukandayisenga", "إبراهيم", "ኪዳነ", "Paluku", "Ŋole"],
    phone: "+2567",
    languages: ["lg", "sw", "fr", "rw", "ach"],
    newline: "\r\n",
    bom: false,
  },
  {
    name: "juba",
    code: "JUB",
    districts: [
      ["Juba Na Bari", ["Munuki", "Gudele", "Kator"]],
      ["Rejaf", ["Gumbo", "Sherikat", "Logo West"]],
      ["Northern Bari", ["Mangateen", "Jebel", "Khor Romla"]],
    ],
    given: {
      female: ["Nyankiir", "Acol", "Nyawuɔt", "Awɛŋ", "Adut", "Nyaröl", "مريم", "خديجة", "Poni", "Keji", "Abuk", "Nyaɣɔa"],
      male: ["Dɛŋ", "Majok", "Gatluak", "Wuɔl", "Lɔkɔ", "Garaŋ", "Kuɔl", "محمد", "آدم", "Ladu", "Wani", "Riɛk"],
    },
    family: ["Aŋɔk", "Mabior", "Gatkuɔth", "Lual", "Wani", "Lado", "بشير", "عثمان", "Akɔl", "Pitia", "Bol", "Thɔn"],
    phone: "+2119",
    languages: ["din", "nus", "ar", "bfa", "en"],
    newline: "\n",
    bom: false,
  },
];

const BENEFICIARIES = 440;
const DISTRIBUTIONS = 620;
const ASSESSMENTS = 48;
/** One row in about this many stands twice. */
const REPEATED_EVERY = 97;

const ITEMS = [
  ["RICE", "KG", 5, 50],
  ["MAIZE", "KG", 5, 50],
  ["BEANS", "KG", 1, 10],
  ["OIL", "LITRE", 1, 5],
  ["SALT", "KG", 0.5, 1],
  ["SOAP", "PIECE", 2, 8],
  ["BLANKET", "PIECE", 1, 6],
  ["TARPAULIN", "PIECE", 1, 2],
  ["JERRYCAN", "PIECE", 1, 2],
  ["CASH", "USD", 10, 120],
] as const;

/** mulberry32: small, seeded, the same on every machine. */
function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

type Row = Record<string, string>;

const cell = (text: string): string => (/[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

function csv(site: Site, header: readonly string[], rows: readonly Row[]): string {
  const lines = [header.join(","), ...rows.map((row) => header.map((name) => cell(row[name] ?? "")).join(","))];
  return `${site.bom ? "\uFEFF" : ""}${lines.join(site.newline)}${site.newline}`;
}

const day = (next: () => number, from: string, days: number): string =>
  new Date(Date.parse(from) + Math.floor(next() * days) * 86_400_000).toISOString().slice(0, 10);

export interface Files {
  readonly [path: string]: string;
}

/** All files of all sites, by path. */
export function generate(seed = SEED): Files {
  const next = random(seed);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)]!;
  const maybe = (chance: number, value: () => string): string => (next() < chance ? value() : "");
  const files: Record<string, string> = {};
  const registered = new Map<string, Row[]>();

  for (const site of SITES) {
    const rows: Row[] = [];
    for (let n = 1; n <= BENEFICIARIES; n++) {
      const sex = pick(["female", "female", "male", "male", "male", "other", "unknown"]);
      const [district, villages] = pick(site.districts);
      rows.push({
        registration_no: `${site.code}-${String(n).padStart(6, "0")}`,
        given_name: pick(sex === "male" ? site.given.male : site.given.female),
        family_name: maybe(0.93, () => pick(site.family)),
        sex,
        birth_date: maybe(0.86, () => day(next, "1948-01-01", 26_000)),
        household_size: maybe(0.95, () => String(1 + Math.floor(next() * next() * 13))),
        phone: maybe(0.62, () => site.phone + String(Math.floor(next() * 100_000_000)).padStart(8, "0")),
        district,
        village: maybe(0.9, () => pick(villages)),
        status: pick(["refugee", "refugee", "refugee", "idp", "returnee", "host"]),
        preferred_language: maybe(0.4, () => pick(site.languages)),
        consent: maybe(0.7, () => pick(["true", "true", "false"])),
        registered_on: day(next, "2024-01-08", 700),
      });
    }
    registered.set(site.name, rows);
  }
  // People who moved on and were registered again under the number on their card.
  const movers = [
    ["nairobi", "kampala", [17, 58, 203]],
    ["kampala", "juba", [42, 111, 390]],
    ["juba", "nairobi", [5, 250]],
  ] as const;
  for (const [from, to, numbers] of movers) {
    for (const n of numbers) registered.get(to)!.push({ ...registered.get(from)![n - 1]!, registered_on: day(next, "2026-01-10", 60) });
  }
  // One date that is in no calendar, and one code that is on no list.
  registered.get("juba")![210]!.birth_date = "2019-02-30";

  for (const site of SITES) {
    const people = registered.get(site.name)!;
    const distributions: Row[] = [];
    for (let n = 1; n <= DISTRIBUTIONS; n++) {
      const [item, unit, least, most] = pick(ITEMS);
      distributions.push({
        distribution_no: `${site.code}-D-${String(n).padStart(5, "0")}`,
        registration_no: pick(people).registration_no!,
        item: site.name === "kampala" && n === 333 ? "XRICE" : item,
        quantity: String(least + Math.floor((next() * (most - least)) / least) * least),
        unit,
        distributed_on: day(next, "2026-02-01", 80),
        voucher_no: maybe(0.5, () => `V${String(Math.floor(next() * 1e7)).padStart(7, "0")}`),
      });
    }
    const assessments: Row[] = [];
    for (let n = 1; n <= ASSESSMENTS; n++) {
      const [district, villages] = pick(site.districts);
      const village = pick(villages);
      assessments.push({
        assessment_no: `${site.code}-A-${String(n).padStart(4, "0")}`,
        settlement: `${village}, ${district}`,
        assessed_on: day(next, "2026-03-01", 50),
        households: String(20 + Math.floor(next() * 900)),
        water_litres_per_person: maybe(0.85, () => (4 + next() * 20).toFixed(1)),
        food_score: maybe(0.8, () => (20 + next() * 60).toFixed(1)),
        severity: pick(["MINIMAL", "STRESSED", "STRESSED", "CRISIS", "CRISIS", "EMERGENCY"]),
        note: maybe(0.4, () =>
          pick([
            'Two of three pumps broken; people say "since January".',
            "Market open, prices up.\nSchool used as shelter.",
            "Accès difficile après les pluies, piste coupée.",
            "نقص في المياه الصالحة للشرب",
            "ውሃ የለም",
          ]),
        ),
      });
    }
    const doubled = (rows: Row[]): Row[] => rows.flatMap((row, i) => (i % REPEATED_EVERY === REPEATED_EVERY - 1 ? [row, row] : [row]));
    files[`${site.name}/beneficiaries.csv`] = csv(site, Object.keys(people[0]!), doubled(people));
    files[`${site.name}/distributions.csv`] = csv(site, Object.keys(distributions[0]!), doubled(distributions));
    files[`${site.name}/assessments.csv`] = csv(site, Object.keys(assessments[0]!), doubled(assessments));
  }
  return files;
}

if (import.meta.main) {
  for (const [path, text] of Object.entries(generate())) {
    mkdirSync(join(import.meta.dirname, path, ".."), { recursive: true });
    writeFileSync(join(import.meta.dirname, path), text);
  }
}

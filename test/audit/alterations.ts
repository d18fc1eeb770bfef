import type { Part } from "../../services/audit/index.ts";
import { GIVEN, held, PERSON, signed } from "./verified-hub.ts";

const audit = "tributary.audit";

/** What somebody alters: its name, the part that reports it, the table, the statement, and what is reported. */
export const ALTERATIONS: readonly (readonly [
  string,
  Part,
  string,
  string,
  () => { where: string; what: string; todo: string },
])[] = [
  [
    "an audit row's actor",
    "audit",
    audit,
    `UPDATE ${audit} SET actor = 'somebody else' WHERE entity_id = '${GIVEN}'`,
    () => ({ where: `${signed}/1`, what: "its audit row was altered: actor", todo: "empty database" }),
  ],
  [
    "an audit row's quantity",
    "audit",
    audit,
    `UPDATE ${audit} SET data = replace(data::text, '12.5', '2.5')::json WHERE entity_id = '${GIVEN}'`,
    () => ({ where: `${signed}/1`, what: "its audit row was altered: data", todo: "empty database" }),
  ],
  [
    "an audit row's recorded time, by a microsecond",
    "audit",
    audit,
    `UPDATE ${audit} SET recorded_at = recorded_at + interval '1 microsecond' WHERE entity_id = '${GIVEN}'`,
    () => ({ where: `${signed}/1`, what: "its audit row was altered: recorded_at", todo: "empty database" }),
  ],
  [
    "an audit row with its hash",
    "audit",
    audit,
    `UPDATE ${audit} SET data = replace(data::text, '12.5', '2.5')::json, hash = repeat('a', 64) WHERE entity_id = '${GIVEN}'`,
    () => ({ where: `${signed}/1`, what: "the device's signature is good for the log's", todo: "empty database" }),
  ],
  [
    "an audit row that is gone",
    "audit",
    audit,
    `DELETE FROM ${audit} WHERE entity_id = '${GIVEN}'`,
    () => ({ where: `${signed}/1`, what: "the audit lacks it", todo: "empty database" }),
  ],
  [
    "an audit row that was made up",
    "audit",
    audit,
    `INSERT INTO ${audit} SELECT origin, seq + 5000, position + 1000000, id, type, entity_type, entity_id, org, site, device, actor, occurred_at, recorded_at, hlc,
         clock_offset_ms, schema_subject, schema_version, basis, data, correlation_id, causation_id, prev, hash FROM ${audit} WHERE entity_id = '${GIVEN}'`,
    () => ({ where: `${signed}/5001`, what: "it was made up", todo: "empty database" }),
  ],
  [
    "what is held in quarantine",
    "audit",
    "tributary.quarantine",
    "UPDATE tributary.quarantine SET raw = replace(raw, 'unclear', 'female')",
    () => ({ where: `${held}/0`, what: "quarantined events was altered: raw", todo: "empty database" }),
  ],
  [
    "whether it is held",
    "audit",
    "tributary.quarantine",
    "UPDATE tributary.quarantine SET state = 'rejected', settled_by = 'nobody'",
    () => ({ where: `${held}/0`, what: "altered: state, settled_by", todo: "empty database" }),
  ],
  [
    "a quarantined event that is gone from the list",
    "audit",
    "tributary.quarantine",
    "DELETE FROM tributary.quarantine",
    () => ({ where: `${held}/0`, what: "lacks it", todo: "empty database" }),
  ],
  [
    "a view's row",
    "views",
    "views.beneficiaries",
    `UPDATE views.beneficiaries SET village = 'elsewhere' WHERE id = '${PERSON}'`,
    () => ({
      where: `beneficiaries/${PERSON}`,
      what: "folding the log gives: village",
      todo: "reconcile beneficiaries --repair",
    }),
  ],
  [
    "a view's inner state",
    "views",
    "views.beneficiaries",
    `UPDATE views.beneficiaries SET state = replace(state, 'Munuki', 'Gudele') WHERE id = '${PERSON}'`,
    () => ({
      where: `beneficiaries/${PERSON}`,
      what: "folding the log gives: state",
      todo: "reconcile beneficiaries --repair",
    }),
  ],
  [
    "a kept version of a row",
    "views",
    "views.beneficiaries_history",
    `UPDATE views.beneficiaries_history SET values = replace(values::text, '+254700000001', '+254799999999')::json WHERE id = '${PERSON}'
         AND values::text LIKE '%+254700000001%'`,
    () => ({
      where: `beneficiaries/${PERSON}`,
      what: `as of ${signed}/2 is not what folding the log gives: phone`,
      todo: "rebuild beneficiaries",
    }),
  ],
  [
    "when a version was recorded",
    "views",
    "views.beneficiaries_history",
    `UPDATE views.beneficiaries_history SET recorded_at = recorded_at - interval '1 day' WHERE ctid = (SELECT max(ctid) FROM views.beneficiaries_history WHERE id = '${PERSON}')`,
    () => ({ where: `beneficiaries/${PERSON}`, what: "recorded time", todo: "rebuild beneficiaries" }),
  ],
  [
    "a kept version that is gone",
    "views",
    "views.beneficiaries_history",
    `DELETE FROM views.beneficiaries_history WHERE id = '${PERSON}' AND values::text LIKE '%+254700000001%'`,
    () => ({
      where: `beneficiaries/${PERSON}`,
      what: `its version as of ${signed}/2 is not kept`,
      todo: "rebuild beneficiaries",
    }),
  ],
  [
    "a claim to an invariant",
    "views",
    "views.distributions_claims",
    `UPDATE views.distributions_claims SET key = 'another' WHERE ctid = (SELECT min(ctid) FROM views.distributions_claims)`,
    () => ({ where: "distributions/", what: "its claims to invariants", todo: "reconcile distributions --repair" }),
  ],
  [
    "a total",
    "totals",
    "views.distribution_summary",
    "UPDATE views.distribution_summary SET quantity = quantity + 0.01 WHERE id = (SELECT min(id) FROM views.distribution_summary)",
    () => ({ where: "distribution_summary/", what: "quantity is ", todo: "reconcile distribution_summary --repair" }),
  ],
  [
    "a total that nothing adds to",
    "totals",
    "views.distribution_summary",
    'INSERT INTO views.distribution_summary SELECT (jsonb_populate_record(s, \'{"id": "more"}\')).* FROM views.distribution_summary s LIMIT 1',
    () => ({
      where: "distribution_summary/more",
      what: "no row adds to this total",
      todo: "reconcile distribution_summary --repair",
    }),
  ],
];

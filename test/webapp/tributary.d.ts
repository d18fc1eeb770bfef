/**
 * The types of this project's events and views, made by `tributary types`. Do not edit: make it again when forms or views have changed.
 *
 *   import type { Tributary } from "./tributary.d.ts";
 *   const field = openField<Tributary>({ … }); // on a device
 *   const hub = client<Tributary>(url, { token }); // a program that asks a hub
 */

export type Json = null | boolean | number | string | readonly Json[] | { readonly [member: string]: Json };

/** Needs assessment, version 1. */
export type AssessmentV1 = {
  readonly assessment_no: string;
  readonly settlement: string;
  readonly assessed_on: string;
  readonly households: number;
  readonly water_litres_per_person?: null | number;
  readonly food_score?: null | number;
  readonly severity: "MINIMAL" | "STRESSED" | "CRISIS" | "EMERGENCY" | "CATASTROPHE";
  readonly note?: null | string;
};

/** Registration of a beneficiary, version 1. */
export type BeneficiaryV1 = {
  /** As printed on the registration card, for example NBO-000123 */
  readonly registration_no: string;
  readonly given_name: string;
  readonly family_name?: string;
  readonly sex: "female" | "male" | "other" | "unknown";
  readonly birth_date?: string;
  readonly household_size?: number;
  /** International form, for example +254712345678 */
  readonly phone?: string;
  readonly district?: string;
  readonly village?: string;
  readonly status?: "refugee" | "idp" | "returnee" | "host";
  readonly registered_on: string;
};

/** Registration of a beneficiary, version 2. */
export type BeneficiaryV2 = {
  /** As printed on the registration card, for example NBO-000123 */
  readonly registration_no: string;
  readonly given_name: string;
  readonly family_name?: string;
  readonly sex: "female" | "male" | "other" | "unknown";
  readonly birth_date?: string;
  readonly household_size?: number;
  /** International form, for example +254712345678 */
  readonly phone?: string;
  readonly district?: string;
  readonly village?: string;
  readonly status?: "refugee" | "idp" | "returnee" | "host";
  readonly registered_on: string;
  /** Language tag, for example sw or ti-ER */
  readonly preferred_language?: string;
  /** Agreed to the sharing of their data between agencies */
  readonly consent?: boolean;
};

/** Removal of a beneficiary, version 1. */
export type BeneficiaryRemovalV1 = {
  readonly reason: "moved" | "duplicate" | "deceased" | "withdrawn" | "other";
  readonly note?: string;
};

/** Change of a beneficiary's record, version 1. */
export type BeneficiaryUpdateV1 = {
  readonly given_name?: string;
  readonly sex?: "female" | "male" | "other" | "unknown";
  readonly family_name?: string | null;
  readonly birth_date?: string | null;
  readonly household_size?: number | null;
  /** International form, for example +254712345678 */
  readonly phone?: string | null;
  readonly district?: string | null;
  readonly village?: string | null;
  readonly status?: "refugee" | "idp" | "returnee" | "host" | null;
  readonly preferred_language?: string | null;
  readonly consent?: boolean;
};

/** Distribution of goods, version 1. */
export type DistributionV1 = {
  readonly distribution_no: string;
  readonly registration_no: string;
  readonly item: "RICE" | "MAIZE" | "BEANS" | "OIL" | "SALT" | "SOAP" | "BLANKET" | "TARPAULIN" | "JERRYCAN" | "CASH";
  readonly quantity: number;
  readonly unit: "KG" | "LITRE" | "PIECE" | "USD";
  readonly distributed_on: string;
};

/** Distribution of goods, version 2. */
export type DistributionV2 = {
  readonly distribution_no: string;
  readonly registration_no: string;
  readonly item: "RICE" | "MAIZE" | "BEANS" | "OIL" | "SALT" | "SOAP" | "BLANKET" | "TARPAULIN" | "JERRYCAN" | "CASH";
  readonly quantity: number;
  readonly unit: "KG" | "LITRE" | "PIECE" | "USD";
  readonly distributed_on: string;
  readonly voucher_no?: null | string;
};

/** Movement of stock, version 1. */
export type StockMovementV1 = {
  readonly movement_no: string;
  readonly item: "RICE" | "MAIZE" | "BEANS" | "OIL" | "SALT" | "SOAP" | "BLANKET" | "TARPAULIN" | "JERRYCAN" | "CASH";
  /** Into the store; less than zero for a loss found by counting */
  readonly quantity: number;
  readonly unit: "KG" | "LITRE" | "PIECE" | "USD";
  readonly moved_on: string;
  readonly waybill?: string | null;
};

/** A row of assessments: one assessment. */
export type AssessmentsRow = {
  readonly assessment_no: string | null;
  readonly settlement: string | null;
  /** A day, YYYY-MM-DD. */
  readonly assessed_on: string | null;
  readonly households: number | null;
  readonly water_litres_per_person: number | null;
  readonly food_score: number | null;
  readonly severity: string | null;
  readonly note: string | null;
};

/** A row of beneficiaries: one beneficiary. */
export type BeneficiariesRow = {
  readonly registration_no: string | null;
  readonly given_name: string | null;
  readonly family_name: string | null;
  readonly sex: string | null;
  /** A day, YYYY-MM-DD. */
  readonly birth_date: string | null;
  readonly household_size: number | null;
  readonly phone: string | null;
  readonly district: string | null;
  readonly village: string | null;
  readonly status: string | null;
  readonly preferred_language: string | null;
  readonly consent: boolean | null;
  /** A day, YYYY-MM-DD. */
  readonly registered_on: string | null;
};

/** A row of distributions: one distribution. */
export type DistributionsRow = {
  readonly distribution_no: string | null;
  readonly registration_no: string | null;
  readonly item: string | null;
  readonly quantity: number | null;
  readonly unit: string | null;
  /** A day, YYYY-MM-DD. */
  readonly distributed_on: string | null;
  readonly voucher_no: string | null;
  readonly site: string | null;
};

/** A row of phones: one beneficiary. */
export type PhonesRow = {
  readonly phone: string | null;
  readonly given_name: string | null;
  readonly extra: Json | null;
  /** An instant in UTC, ISO 8601 with milliseconds. */
  readonly seen_at: string | null;
};

/** A row of policies: one policy. */
export type PoliciesRow = {
  readonly holders: Json | null;
  readonly entities: Json | null;
  /** An instant in UTC, ISO 8601 with milliseconds. */
  readonly set_at: string | null;
  readonly set_by: string | null;
};

/** A row of schemas: one schema. */
export type SchemasRow = {
  readonly versions: number | null;
  readonly kind: string | null;
  readonly fingerprint: string | null;
  readonly authority: string | null;
  /** An instant in UTC, ISO 8601 with milliseconds. */
  readonly registered_at: string | null;
  readonly registered_by: string | null;
  readonly level: string | null;
  readonly mode: string | null;
  readonly normalize: boolean | null;
  readonly hidden: Json | null;
};

/** A row of sites: one site. */
export type SitesRow = {
  readonly org: string | null;
  readonly site: string | null;
  readonly title: string | null;
  readonly roles: Json | null;
  /** An instant in UTC, ISO 8601 with milliseconds. */
  readonly registered_at: string | null;
  readonly registered_by: string | null;
};

/** A row of stock_movements: one stock-movement. */
export type StockMovementsRow = {
  readonly movement_no: string | null;
  readonly site: string | null;
  readonly item: string | null;
  readonly quantity: number | null;
  readonly unit: string | null;
  /** A day, YYYY-MM-DD. */
  readonly moved_on: string | null;
  readonly waybill: string | null;
};

/** Events by their types, each with the newest version of its form; the views that a device has rows of; and the kinds of all columns that a hub shows. */
export interface Tributary {
  readonly events: {
    readonly "assessment.submitted": { readonly entity: "assessment"; readonly data: AssessmentV1 };
    readonly "beneficiary.registered": { readonly entity: "beneficiary"; readonly data: BeneficiaryV2 };
    readonly "beneficiary.removed": { readonly entity: "beneficiary"; readonly data: BeneficiaryRemovalV1 };
    readonly "beneficiary.updated": { readonly entity: "beneficiary"; readonly data: BeneficiaryUpdateV1 };
    readonly "distribution.recorded": { readonly entity: "distribution"; readonly data: DistributionV2 };
    readonly "stock.adjusted": { readonly entity: "stock-movement"; readonly data: StockMovementV1 };
    readonly "stock.cancelled": { readonly entity: "stock-movement"; readonly data: StockMovementV1 };
    readonly "stock.received": { readonly entity: "stock-movement"; readonly data: StockMovementV1 };
  };
  readonly views: {
    readonly assessments: AssessmentsRow;
    readonly beneficiaries: BeneficiariesRow;
    readonly distributions: DistributionsRow;
    readonly phones: PhonesRow;
    readonly policies: PoliciesRow;
    readonly schemas: SchemasRow;
    readonly sites: SitesRow;
    readonly stock_movements: StockMovementsRow;
  };
  readonly columns: {
    readonly assessments: {
      readonly id: "text";
      readonly assessment_no: "text";
      readonly settlement: "text";
      readonly assessed_on: "date";
      readonly households: "integer";
      readonly water_litres_per_person: "number";
      readonly food_score: "number";
      readonly severity: "text";
      readonly note: "text";
      readonly deleted: "boolean";
      readonly conflicts: "integer";
      readonly waiting_for: "json";
    };
    readonly beneficiaries: {
      readonly id: "text";
      readonly registration_no: "text";
      readonly given_name: "text";
      readonly family_name: "text";
      readonly sex: "text";
      readonly birth_date: "date";
      readonly household_size: "integer";
      readonly phone: "text";
      readonly district: "text";
      readonly village: "text";
      readonly status: "text";
      readonly preferred_language: "text";
      readonly consent: "boolean";
      readonly registered_on: "date";
      readonly deleted: "boolean";
      readonly conflicts: "integer";
      readonly waiting_for: "json";
    };
    readonly distribution_summary: {
      readonly id: "text";
      readonly site: "text";
      readonly month: "text";
      readonly item: "text";
      readonly unit: "text";
      readonly quantity: "decimal";
      readonly handouts: "integer";
      readonly rows: "integer";
    };
    readonly distributions: {
      readonly id: "text";
      readonly distribution_no: "text";
      readonly registration_no: "text";
      readonly item: "text";
      readonly quantity: "decimal";
      readonly unit: "text";
      readonly distributed_on: "date";
      readonly voucher_no: "text";
      readonly site: "text";
      readonly deleted: "boolean";
      readonly conflicts: "integer";
      readonly waiting_for: "json";
    };
    readonly handouts: null;
    readonly names: null;
    readonly phones: {
      readonly id: "text";
      readonly phone: "text";
      readonly given_name: "text";
      readonly extra: "json";
      readonly seen_at: "instant";
      readonly deleted: "boolean";
      readonly conflicts: "integer";
      readonly waiting_for: "json";
    };
    readonly policies: {
      readonly id: "text";
      readonly holders: "json";
      readonly entities: "json";
      readonly set_at: "instant";
      readonly set_by: "text";
      readonly deleted: "boolean";
      readonly conflicts: "integer";
      readonly waiting_for: "json";
    };
    readonly schemas: {
      readonly id: "text";
      readonly versions: "integer";
      readonly kind: "text";
      readonly fingerprint: "text";
      readonly authority: "text";
      readonly registered_at: "instant";
      readonly registered_by: "text";
      readonly level: "text";
      readonly mode: "text";
      readonly normalize: "boolean";
      readonly hidden: "json";
      readonly deleted: "boolean";
      readonly conflicts: "integer";
      readonly waiting_for: "json";
    };
    readonly sites: {
      readonly id: "text";
      readonly org: "text";
      readonly site: "text";
      readonly title: "text";
      readonly roles: "json";
      readonly registered_at: "instant";
      readonly registered_by: "text";
      readonly deleted: "boolean";
      readonly conflicts: "integer";
      readonly waiting_for: "json";
    };
    readonly stock_ledger: {
      readonly id: "text";
      readonly site: "text";
      readonly item: "text";
      readonly unit: "text";
      readonly received: "decimal";
      readonly handed_out: "decimal";
      readonly balance: "decimal";
      readonly rows: "integer";
    };
    readonly stock_movements: {
      readonly id: "text";
      readonly movement_no: "text";
      readonly site: "text";
      readonly item: "text";
      readonly quantity: "decimal";
      readonly unit: "text";
      readonly moved_on: "date";
      readonly waybill: "text";
      readonly deleted: "boolean";
      readonly conflicts: "integer";
      readonly waiting_for: "json";
    };
  };
}

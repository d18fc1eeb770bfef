/** A connection to PostgreSQL, as the rest of the house hands it on: what can be asked over it are this folder's functions. */
export type { Client as Db } from "pg";

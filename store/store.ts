/**
 * The store: ClickHouse, embedded or a server, behind one port. clickhouse.ts is the only importer of the client.
 *
 * Conventions of every implementation: times UTC; 64-bit integers and decimals come back as strings; one query at a time per
 * connection and a broken connection is cleaned before its next use (a failed query of the embedded engine otherwise poisons
 * the next result). A failed or timed-out insert is *unknown*: repeat it with the same ids.
 * Errors: TransientError when the store is away or busy; PermanentError for bad SQL or bad rows (the message names the row).
 */

/** Values for {name:Type} placeholders; dates as strings or epoch numbers, never Date (the embedded adapter drops milliseconds). */
export type QueryParameters = Readonly<Record<string, string | number | boolean | null | readonly (string | number)[]>>

/** Values for {name:Type} placeholders as fields of TabSeparated: \N is NULL, an array is ['it\'s']. */
export type ParameterFields = Readonly<Record<string, string>>

export interface QueryOptions {
  parameters?: QueryParameters
  /** Values as ClickHouse's HTTP interface takes them, escaped already; not together with `parameters`. */
  fields?: ParameterFields
  /** Written into a SETTINGS clause of this statement, so that it never sticks to a connection. */
  settings?: Readonly<Record<string, string | number>>
  signal?: AbortSignal
}

/** What people may ask for: read-only, one statement, limited in time, memory and rows. */
export interface ReadResult {
  format: string
  content_type: string
  body: AsyncIterable<Uint8Array>
}

export interface Store {
  readonly database: string
  /** Rows as objects. For our own statements only; text from people goes through read(). */
  query<R = Record<string, unknown>>(sql: string, options?: QueryOptions): Promise<R[]>
  command(sql: string, options?: QueryOptions): Promise<void>
  /**
   * Rows are JSONCompactEachRow lines (JSON arrays in column order, without line feed). Resolves when they are durable.
   * Either all rows are inserted or none; a bad row gives PermanentError. Every relevant setting is stated on the insert.
   */
  insert(table: string, columns: readonly string[], rows: readonly string[], options?: { signal?: AbortSignal }): Promise<void>
  /** SQL from a person, on a read-only connection of its own. PermanentError with ClickHouse's own message for bad SQL. */
  read(sql: string, options?: { format?: string; fields?: ParameterFields; signal?: AbortSignal }): Promise<ReadResult>
  readonly state: StateStore
  ping(signal?: AbortSignal): Promise<void>
  close(): Promise<void>
}

/** Collector checkpoints and detector snapshots: small values by scope and key, the newest wins. */
export interface StateStore {
  /** All entries become visible together or not at all (one insert, one partition); undefined deletes. Durable when it resolves. */
  put(scope: string, entries: ReadonlyMap<string, Uint8Array | undefined>): Promise<void>
  get(scope: string, key: string): Promise<Uint8Array | undefined>
  list(scope: string): Promise<Map<string, Uint8Array>>
}

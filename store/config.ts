/** The section `store` of the config. */
import { z } from 'zod'
import { duration } from '../runtime/duration.ts'
import { secretRef } from '../runtime/secrets.ts'

/** What one query of a person may cost. Without limits one tired analyst takes the memory of the pipeline away. */
export const readLimits = z
  .strictObject({
    execution_time: duration.prefault('30s').describe('longest run of one query of a person'),
    memory_bytes: z.int().min(10_000_000).default(300_000_000).describe('most memory of one query of a person'),
    result_rows: z.int().min(1).default(1_000_000).describe('most rows in one answer; more is an error, not a cut'),
    result_bytes: z.int().min(1000).default(200_000_000).describe('most bytes in one answer, before formatting'),
  })
  .describe('limits for queries of people (console, query command)')
export type ReadLimits = z.infer<typeof readLimits>

const databaseName = z
  .string()
  .regex(/^[A-Za-z_][A-Za-z0-9_]{0,63}$/, 'letters, digits and underscores, not starting with a digit')
  .describe('database that holds the tables; created at the first start')

const embeddedStore = z.strictObject({
  kind: z.literal('embedded').describe('ClickHouse inside this process, in <data_dir>/store'),
  database: databaseName.default('tokenwatch'),
  limits: readLimits.prefault({}),
})

const clickhouseStore = z.strictObject({
  kind: z.literal('clickhouse').describe('a ClickHouse server, by its HTTP interface'),
  url: z.url({ protocol: /^https?$/ }).describe('http(s)://host:8123, without user name and password'),
  database: databaseName.default('tokenwatch'),
  username: z.string().min(1).default('default').describe('needs INSERT, SELECT, CREATE, ALTER, DROP on the database'),
  password: secretRef.optional(),
  cluster: z
    .string()
    .regex(/^[A-Za-z0-9_-]{1,64}$/)
    .optional()
    .describe('name of the cluster: tables are then created ON CLUSTER with replicated engines'),
  request_timeout: duration.prefault('60s').describe('an insert or query without an answer for this long is repeated'),
  compression: z.boolean().default(true).describe('gzip requests and answers'),
  max_connections: z.int().min(2).max(100).default(10).describe('most connections to the server'),
  limits: readLimits.prefault({}),
})

export const storeConfig = z
  .discriminatedUnion('kind', [embeddedStore, clickhouseStore])
  .prefault({ kind: 'embedded' })
  .describe('where everything is stored: ClickHouse, embedded or a server')
export type StoreConfig = z.infer<typeof storeConfig>
export type EmbeddedStoreConfig = z.infer<typeof embeddedStore>
export type ClickHouseStoreConfig = z.infer<typeof clickhouseStore>

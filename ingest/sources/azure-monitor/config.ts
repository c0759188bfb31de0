/** Config of the source `azure-monitor`. */
import { z } from 'zod'
import { duration } from '../../../runtime/duration.ts'
import { UsageError } from '../../../runtime/errors.ts'
import { cloudNames, credentialConfig } from './credential.ts'
import { tableConfig } from './tables.ts'

const tables = z.array(tableConfig).min(1)

const workspace = z.strictObject({
  id: z.guid().describe('the Workspace ID of its overview page'),
  name: z
    .string()
    .regex(/^[\w.-]{1,64}$/, 'letters, digits, dot, dash and underscore')
    .optional()
    .describe('your name for it: it names checkpoints, so keep it; default: the id'),
  tables: tables.optional().describe('instead of those of the source'),
})

export const config = z.strictObject({
  workspaces: z.array(workspace).min(1).describe('Log Analytics workspaces'),
  tables: tables.describe('what is read of each workspace'),
  client: z.enum(['monitor-query', 'monitor-query-logs']).default('monitor-query').describe('client library: @azure/monitor-query, or its successor @azure/monitor-query-logs'),
  cloud: z.enum(cloudNames).default('public').describe('which of Microsoft’s clouds: sets endpoint, audience and authority'),
  credential: credentialConfig,
  endpoint: z
    .url({ protocol: /^https?$/ })
    .optional()
    .describe('instead of that of the cloud; without a path'),
  audience: z.url().optional().describe('instead of that of the cloud'),
  authority_host: z.url().optional().describe('instead of that of the cloud'),
  allow_insecure: z.boolean().default(false).describe('for a stand-in on this machine only: plain HTTP, the token in the clear'),
  start: duration.prefault('24h').describe('how far back the first start reads, in time of ingestion'),
  poll: duration.prefault('60s').describe('between two rounds'),
  settle: duration.prefault('5m').describe('how old a minute must be before it is read: shorter is faster and reads more minutes twice'),
  overlap: duration.prefault('10m').describe('how far back each round counts again'),
  recount: duration.prefault('1h').describe('between two re-counts of everything in `recount_over`'),
  recount_over: duration.prefault('48h').describe('how far back of ingestion that re-count goes, in steps of ten minutes'),
  deep_recount: duration.prefault('24h').describe('between two re-counts of everything in `deep_recount_over`'),
  deep_recount_over: duration
    .prefault('15d')
    .describe('how far back that one goes, in steps of an hour: rows that become visible later than this after their ingestion are not found'),
  event_delay: duration.prefault('10m').describe('how long after an event the cloud may take to ingest it: until then its time is not called complete'),
  timespan: duration.prefault('15d').describe('how much older than its ingestion an event may be'),
  max_rows: z.int().min(1).max(450_000).default(100_000).describe('rows of one answer: more is asked in parts; the service cuts at 500,000'),
  max_bytes: z
    .int()
    .min(1000)
    .max(50_000_000)
    .default(20_000_000)
    .describe('bytes of one answer: more is asked in parts; the service cuts at about 64 million. An answer takes several times its size in memory'),
  query_timeout: duration.prefault('3m').describe('how long the service may work on one query, at most 10m'),
  requests_per_30s: z.int().min(1).max(200).default(120).describe('of the 200 that the service allows one identity; shared by all tables of this source'),
  concurrent: z.int().min(1).max(5).default(3).describe('queries at the same time, of the 5 that the service runs for one identity'),
})
export type AzureMonitorConfig = z.infer<typeof config>

/** What one field alone cannot tell. The registry takes the fields of the object above and forgets its refinements. */
export function checkConfig(options: AzureMonitorConfig): void {
  const insecure = options.endpoint?.startsWith('http://') === true
  const problems = [
    options.credential.kind === 'token' && !options.allow_insecure && 'credential kind "token" is for a stand-in only: it needs allow_insecure',
    options.allow_insecure && !insecure && 'allow_insecure is for a stand-in with an `endpoint` of http://: a real cloud is never asked without TLS',
    insecure && !options.allow_insecure && 'an endpoint with http:// needs allow_insecure',
    options.settle + options.overlap >= options.recount_over && 'recount_over must be longer than settle and overlap together',
    options.deep_recount_over < options.recount_over && 'deep_recount_over must not be shorter than recount_over',
    (options.query_timeout < 1000 || options.query_timeout > 600_000) && 'query_timeout must be 1s to 10m',
  ].flatMap((problem) => (problem === false ? [] : [`sources: azure-monitor: ${problem}`]))
  if (problems.length > 0) throw new UsageError(problems)
}

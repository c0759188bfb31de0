/** Source `cloudwatch-logs`: log groups of several accounts and regions, pulled with FilterLogEvents; nothing that AWS shows late is lost. */
import { z } from 'zod'
import { duration } from '../../../runtime/duration.ts'
import { UsageError } from '../../../runtime/errors.ts'
import type { Source, SourceContext, SourceSpec } from '../../source.ts'
import type { CloudWatchApi } from './api.ts'
import { createDiscoverSource } from './discover.ts'
import { createGroupSource, type GroupSettings, SOURCE_ID } from './group.ts'
import { createApi, type SdkOptions } from './sdk.ts'
import { RequestShare } from './throttle.ts'

const account = z.strictObject({
  role_arn: z
    .string()
    .regex(/^arn:[\w-]+:iam::\d{12}:role\/\S+$/, 'an ARN such as arn:aws:iam::123456789012:role/tokenwatch')
    .optional()
    .describe('role to assume in this account; absent: the credentials that Tokenwatch runs with'),
  external_id: z.string().min(1).optional().describe('external id that the trust policy of the role asks for'),
})

const tier = (every: string, overlap: string, what: string) =>
  z
    .strictObject({
      every: duration.prefault(every).describe(`how often ${what}`),
      overlap: duration.prefault(overlap).describe('how late an event may become visible to be found by this scan'),
    })
    .prefault({})

const config = z.strictObject({
  accounts: z
    .array(account)
    .min(1)
    .prefault([{}])
    .describe('accounts to read from; default: the one of the credentials that Tokenwatch runs with (environment, profile, role of the machine)'),
  regions: z
    .array(z.string().regex(/^[a-z]{2}(-[a-z]+)+-\d$/, 'a region such as eu-central-1'))
    .min(1)
    .describe('AWS regions, each read in every account'),
  log_groups: z.array(z.string().min(1).max(512)).default([]).describe('names of log groups'),
  log_group_prefixes: z.array(z.string().min(1).max(512)).default([]).describe('every log group whose name begins so, also those that appear later'),
  filter_pattern: z.string().min(1).max(1024).optional().describe('a CloudWatch filter pattern; completeness cannot be told then'),
  endpoint: z.url().optional().describe('address of the AWS APIs, for tests and VPC endpoints'),
  start: duration.prefault('1h').describe('how far back the first start reads'),
  written_after: duration.prefault('0s').describe('how long after the event its log line is written: 15m for CloudTrail. Detectors wait so long'),
  hot: tier('15s', '2m', 'the newest events are read; the overlap grows by itself where events are later'),
  warm: tier('10m', '1h', 'the last hour is read again'),
  cold: tier('6h', '25h', 'the last day is read again'),
  deep: tier('1d', '15d', 'everything is read again that CloudWatch may still have taken late (14 days)'),
  quota: z.number().min(0.1).max(1000).default(5).describe('FilterLogEvents requests per second that AWS allows in an account and region'),
  quota_share: z.number().min(0.01).max(1).default(0.6).describe('the share of it that Tokenwatch uses: the rest is for people'),
  reconcile: z.boolean().default(true).describe('compare what was read with the metric IncomingLogEvents, every 5 minutes; needs cloudwatch:GetMetricData'),
  discover_every: duration.prefault('5m').describe('how often prefixes are looked up'),
  remembered_ids: z
    .int()
    .min(1_000)
    .default(1_000_000)
    .describe('event ids kept in memory, for all groups together, so that rescans publish only what is new (12 to 24 bytes each, and as much again for digests of older ones)'),
})
export type CloudWatchConfig = z.infer<typeof config>

export const cloudwatchLogs: SourceSpec<CloudWatchConfig> & { config: typeof config } = {
  id: SOURCE_ID,
  summary: 'AWS CloudWatch Logs: several accounts, regions, log groups; late events included',
  config,
  example: {
    accounts: [{ role_arn: 'arn:aws:iam::123456789012:role/tokenwatch', external_id: 'a-secret-word' }],
    regions: ['eu-central-1'],
    log_groups: ['/aws/lambda/llm-gateway'],
  },
  create: (options, context) => cloudwatchSources(options, context, createApi),
}

// A minute of the metric is complete a few minutes later.
const SETTLE_MS = 300_000
// The newest second is still being written.
const HOLDBACK_MS = 1_000
const FEWEST_IDS = 10_000

/** One source per account, region and log group, one more per prefix. They share the quota of their account and region. */
export function cloudwatchSources(options: CloudWatchConfig, { clock, log }: SourceContext, connect: (options: SdkOptions) => CloudWatchApi): Source<unknown>[] {
  if (options.log_groups.length + options.log_group_prefixes.length === 0) throw new UsageError('cloudwatch-logs: name log_groups or log_group_prefixes')
  const settings = settingsOf(options)
  return options.accounts.flatMap((account) =>
    options.regions.flatMap((region) => {
      const api = connect({ region, endpoint: options.endpoint, ...account })
      const identity = account.role_arn === undefined ? 'the default AWS credentials' : `role ${account.role_arn}`
      const share = new RequestShare({ clock, rate: options.quota * options.quota_share })
      const place = `${account.role_arn?.split(':')[4] ?? 'default'}/${region}`
      const taken = new Set(options.log_groups)
      const shared = { region, identity, api, share, clock }
      const open = (group: string): Source<unknown> => createGroupSource({ ...shared, stream: `${place}/${group}`, group, log, settings })
      const prefixes = options.log_group_prefixes.map((prefix) =>
        createDiscoverSource({
          ...shared,
          stream: `${place}/${prefix}*`,
          prefix,
          every: options.discover_every,
          probe: async (group, signal) => open(group).probe?.(signal),
          open: (group) => (taken.has(group) ? undefined : (taken.add(group), open(group))),
        }),
      )
      return [...[...taken].map(open), ...prefixes]
    }),
  )
}

/** What a group needs of the config; durations in ms. */
export function settingsOf(options: CloudWatchConfig): GroupSettings {
  const { hot, warm, cold, deep } = options
  const named = options.log_groups.length * options.accounts.length * options.regions.length
  return {
    every: { hot: hot.every, warm: warm.every, cold: cold.every, deep: deep.every },
    overlap: { hot: hot.overlap, warm: warm.overlap, cold: cold.overlap, deep: deep.overlap },
    holdback: HOLDBACK_MS,
    start: options.start,
    written_after: options.written_after,
    ids: Math.max(FEWEST_IDS, Math.floor(options.remembered_ids / Math.max(1, named + 10 * options.log_group_prefixes.length))),
    reconcile: options.reconcile,
    settle: SETTLE_MS,
    pattern: options.filter_pattern,
  }
}

/** The header that usage, secret access and credential change events share. */
import { z } from 'zod'
import { count, epochMs, label, uuid } from './scalars.ts'

export const eventHeader = {
  event_id: uuid.describe("hash of provider + the provider's own key; the same record has the same id on every path (pull, push, file)"),
  event_time: epochMs.describe("the provider's own time, not the time of the log; partitions and rollups use it"),
  observed_time: epochMs.describe('when the collector read the record'),
  delivered_time: epochMs.nullable().describe('when the cloud made the record visible (CloudWatch ingestionTime, ingestion_time()); null where it does not say'),
  source: label.describe('id of the source plugin: file, cloudwatch-logs …'),
  source_stream: label.describe('log group and stream, workspace and table, or file name'),
  format: label.describe('id of the format plugin that accepted the record'),
  run_id: label.nullable().describe('the `ingest` run that published it; null for live collection'),
  revision: count.describe('0 for the first emission; a record joined from parts is emitted again with a higher revision'),
  account_id: label.nullable(),
  region: label.nullable(),
  owner_ref: label.describe('who pays: key:…, role:…, project:…, subscription:…, file:…; stamped at ingest, immutable'),
  team_id: label.nullable().describe("the detectors' view at the moment of ingest; finance views ask the attribution dictionary"),
  service: label.nullable(),
  client_ip: z.string().max(64).nullable().describe('truncated if privacy.truncate_ip is set'),
  client_ip_prefix: z.int().min(0).max(128).nullable().describe('how many leading bits are known: 32, 24 for a masked last octet, 128 …; null without an address'),
  client_country: z.string().length(2).nullable().describe('ISO 3166-1 alpha-2; null: no geography possible'),
  client_asn: count.nullable().describe('autonomous system number of the address'),
  client_as_name: label.nullable(),
  user_agent: label.nullable(),
  flags: z.array(z.string().max(64)).max(16).describe('kebab-case marks: tokens-missing, cost-upper-bound, unpriced, clock-skew …'),
} as const

/** How a call ended. `blocked` is a content filter, `quota` an exhausted budget (never transient). */
export const usageOutcome = z.enum(['success', 'client_error', 'auth_failure', 'rate_limited', 'quota', 'blocked', 'server_error'])
export type UsageOutcome = z.infer<typeof usageOutcome>

export const accessOutcome = z.enum(['success', 'denied', 'not_found', 'throttled', 'error'])
export type AccessOutcome = z.infer<typeof accessOutcome>

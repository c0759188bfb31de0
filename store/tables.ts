/**
 * Which table a topic goes to, and how a value becomes a row: a JSON array in column order (a JSONCompactEachRow line).
 * Times stay epoch milliseconds (DateTime64(3) takes them as integers), decimals and uuids stay strings, objects become JSON text.
 */
import { type Meters, metersOf } from '../pricing/meters.ts'
import type { Alert } from '../schemas/alerts.ts'
import type { Finding } from '../schemas/findings.ts'
import type { TopicName, TopicValue } from '../schemas/topics.ts'
import type { UsageEvent } from '../schemas/usage.ts'

export interface StoredTable<T extends TopicName> {
  table: string
  columns: readonly string[]
  /** Epoch milliseconds that decide the partition (month) of the row; undefined for tables without partitions. */
  partitionTime?: (value: TopicValue<T>) => number
  /** One line without line feed. */
  toRow: (value: TopicValue<T>) => string
}

const json = (value: unknown): string => JSON.stringify(value)
const names = (text: string): string[] => text.trim().split(/\s+/)

interface Options<T extends TopicName> {
  partitionTime?: (value: TopicValue<T>) => number
  /** Columns that are not a field of the value. */
  computed?: Record<string, (value: TopicValue<T>) => unknown>
}

/** A table whose columns are the fields of the value, but for the computed ones. */
function table<T extends TopicName>(name: string, columns: readonly string[], options: Options<T> = {}): StoredTable<T> {
  const { partitionTime, computed = {} } = options
  const cells = columns.map((column) => computed[column] ?? ((value: TopicValue<T>) => (value as Record<string, unknown>)[column]))
  const toRow = (value: TopicValue<T>): string => json(cells.map((cell) => cell(value)))
  return { table: name, columns, toRow, ...(partitionTime === undefined ? {} : { partitionTime }) }
}

const usageColumns = names(`
  event_id event_time observed_time delivered_time source source_stream format revision provider operation account_id region project_id org_id
  api_key_id user_id owner_ref team_id service deployment model request_model tier ctx stream input_tokens output_tokens cache_read_input_tokens
  cache_write_input_tokens reasoning_output_tokens in_uncached in_cache_read in_cache_write in_audio in_image out_text out_audio out_image images
  audio_duration_ms requests usage_source cost_usd list_cost_usd cost_source price_version status_code outcome error_type error_code duration_ms
  client_ip client_ip_prefix client_country client_asn client_as_name user_agent request_id response_id flags
`)

// Written out, because this is the path of every request: a loop over column names costs a third more.
// oxfmt-ignore
const usageCells = (e: UsageEvent, m: Meters): unknown[] => [
  e.event_id, e.event_time, e.observed_time, e.delivered_time, e.source, e.source_stream, e.format, e.revision, e.provider, e.operation, e.account_id, e.region,
  e.project_id, e.org_id, e.api_key_id, e.user_id, e.owner_ref, e.team_id, e.service, e.deployment, e.model, e.request_model, e.tier, e.ctx, e.stream, e.input_tokens,
  e.output_tokens, e.cache_read_input_tokens, e.cache_write_input_tokens, e.reasoning_output_tokens, m.in_uncached, m.in_cache_read, m.in_cache_write, m.in_audio,
  m.in_image, m.out_text, m.out_audio, m.out_image, m.images, m.audio_duration_ms, e.requests, e.usage_source, e.cost_usd, e.list_cost_usd, e.cost_source,
  e.price_version, e.status_code, e.outcome, e.error_type, e.error_code, e.duration_ms, e.client_ip, e.client_ip_prefix, e.client_country, e.client_asn,
  e.client_as_name, e.user_agent, e.request_id, e.response_id, e.flags,
]

const accessColumns = names(`
  event_id event_time observed_time delivered_time source source_stream format revision account_id region owner_ref team_id service store vault
  secret_id secret_ids secret_version action provider_operation actor_type actor_id actor_name session_name credential_id mfa via_service is_child
  outcome status_code error_code client_service client_ip client_ip_prefix client_country client_asn client_as_name user_agent flags tls_version
  vpc_endpoint_id request_id duration_ms
`)

const changeColumns = names(`
  event_id event_time observed_time delivered_time source source_stream format revision account_id region owner_ref team_id service target_kind
  target_id change provider_operation actor_type actor_id actor_name session_name credential_id is_child client_service outcome error_code client_ip
  client_ip_prefix client_country client_asn client_as_name user_agent flags request_id
`)

const spendColumns = names(`
  report_id provider kind bucket_start bucket_end collected_at project_id api_key_id user_id model tier line_item requests input_tokens
  cache_read_input_tokens output_tokens cost_usd
`)

const rejectColumns = names(`
  reject_id received_at source source_stream stage plugin run_id reason detail size_bytes sha256 topic payload
`)

const findingColumns = names(`
  finding_id revision detector detector_version entity window_start window_end first_event_time last_event_time detected_at severity reason title
  summary attack team_id service owner_ref api_key_id provider spend_usd_per_minute spend_usd evidence baseline freshness run_id backfill
`)

const alertColumns = names(`
  alert_id revision state detector entity severity reason title summary attack team_id service owner_ref api_key_id provider spend_usd_per_minute
  spend_usd evidence finding_ids first_event_time last_event_time opened_at updated_at resolved_at backfill run_id acked_by acked_at silenced_until
  notification_id notification_kind notification_sinks
`)

const deliveryColumns = names(`
  notification_id alert_id sink kind attempt outcome at next_attempt_at receipt error duration_ms
`)

const responseColumns = names(`
  response_id alert_id step seq at who why action target_kind target_id target_provider dry_run policy expires_at command_id responder blast_radius
  detail prev hash
`)

const actionColumns = names(`
  action_id act alert_id response_id who why at until
`)

const commandColumns = names(`
  command_id alert_id action target_kind target_id target_provider reason evidence_url dry_run expires_at issued_at
`)

const progressColumns = names(`
  stream source source_stream run_id at scanned_to last_event_time completeness blind reason done records accepted skipped rejected late
  late_histogram lag_ms cloud_delay_ms own_delay_ms
`)

const eventTime = (event: { event_time: number }): number => event.event_time
const target = {
  target_kind: (value: { target: { kind: string } }) => value.target.kind,
  target_id: (value: { target: { id: string } }) => value.target.id,
  target_provider: (value: { target: { provider: string } }) => value.target.provider,
}
const findingCells = { evidence: (f: Finding) => json(f.evidence), baseline: (f: Finding) => json(f.baseline), freshness: (f: Finding) => json(f.freshness) }
const alertCells = {
  evidence: (a: Alert) => json(a.evidence),
  notification_id: (a: Alert) => a.notification?.notification_id ?? null,
  notification_kind: (a: Alert) => a.notification?.kind ?? null,
  notification_sinks: (a: Alert) => a.notification?.sinks ?? [],
}

/** Every topic that is copied to the store. */
export const storedTables = {
  'usage.v1': { table: 'usage_events', columns: usageColumns, partitionTime: eventTime, toRow: (e: UsageEvent) => json(usageCells(e, metersOf(e))) },
  'secret-access.v1': table<'secret-access.v1'>('secret_access_events', accessColumns, { partitionTime: eventTime }),
  'credential-change.v1': table<'credential-change.v1'>('credential_change_events', changeColumns, { partitionTime: eventTime }),
  'spend-report.v1': table<'spend-report.v1'>('spend_reports', spendColumns, { partitionTime: (r) => r.bucket_start }),
  'rejects.v1': table<'rejects.v1'>('reject_events', rejectColumns),
  'progress.v1': table<'progress.v1'>('progress_log', progressColumns, { computed: { late_histogram: (p) => p.late_histogram ?? [] } }),
  'findings.v1': table<'findings.v1'>('findings_log', findingColumns, { partitionTime: (f) => f.window_start, computed: findingCells }),
  'deliveries.v1': table<'deliveries.v1'>('deliveries_log', deliveryColumns),
  'alerts.v1': table<'alerts.v1'>('alerts_log', alertColumns, { computed: alertCells }),
  'alert-actions.v1': table<'alert-actions.v1'>('alert_actions_log', actionColumns),
  'responses.v1': table<'responses.v1'>('responses_log', responseColumns, {
    computed: { ...target, blast_radius: (r) => (r.blast_radius === null ? null : json(r.blast_radius)) },
  }),
  'commands.v1': table<'commands.v1'>('commands_log', commandColumns, { computed: target }),
} as const satisfies { [T in TopicName]?: StoredTable<T> }

export type StoredTopic = keyof typeof storedTables
export const storedTopics = Object.keys(storedTables) as StoredTopic[]

/** The registry of topics: schema, key and how long a record is kept. The only list; buses, writers and docs derive from it. */
import type { z } from 'zod'
import { alertAction } from './alert-actions.ts'
import { alert } from './alerts.ts'
import { annotation } from './annotations.ts'
import { command } from './commands.ts'
import { credentialChangeEvent } from './credential-change.ts'
import { delivery } from './deliveries.ts'
import { finding } from './findings.ts'
import { fragment } from './fragments.ts'
import { ledgerFact } from './ledger-facts.ts'
import { progress } from './progress.ts'
import { reject } from './rejects.ts'
import { response } from './responses.ts'
import { secretAccessEvent } from './secret-access.ts'
import { spendReport } from './spend-report.ts'
import { usageEvent } from './usage.ts'

const DAY_MS = 86_400_000
const FOREVER = -1

interface TopicSpec<S extends z.ZodType> {
  schema: S
  /** Version of the schema, sent in the header `schema`; the name of the topic carries it too. */
  version: number
  /** Records of one key keep their order and stay in one partition. */
  key: (value: z.infer<S>) => string
  partitions: number
  /** -1: kept for ever. */
  retention_ms: number
  cleanup: 'delete' | 'compact'
}

const topic = <S extends z.ZodType>(schema: S, key: (value: z.infer<S>) => string, rest: Partial<TopicSpec<S>> = {}): TopicSpec<S> => ({
  schema,
  version: 1,
  key,
  partitions: 1,
  retention_ms: 7 * DAY_MS,
  cleanup: 'delete',
  ...rest,
})

export const topics = {
  'usage.v1': topic(usageEvent, (e) => e.api_key_id ?? e.owner_ref, { partitions: 6 }),
  'secret-access.v1': topic(secretAccessEvent, (e) => e.actor_id, { partitions: 3 }),
  'credential-change.v1': topic(credentialChangeEvent, (e) => e.target_id),
  'spend-report.v1': topic(spendReport, (r) => r.report_id),
  'fragments.v1': topic(fragment, (f) => f.correlation_id, { partitions: 3 }),
  'rejects.v1': topic(reject, (r) => r.source),
  'progress.v1': topic(progress, (p) => (p.run_id === null ? p.stream : `${p.run_id} ${p.stream}`), { retention_ms: FOREVER, cleanup: 'compact' }),
  'annotations.v1': topic(annotation, (a) => a.scope, { retention_ms: FOREVER, cleanup: 'compact' }),
  'ledger-facts.v1': topic(ledgerFact, (f) => f.fact, { retention_ms: FOREVER, cleanup: 'compact' }),
  'findings.v1': topic(finding, (f) => `${f.detector} ${f.entity}`, { partitions: 3, retention_ms: 30 * DAY_MS }),
  'deliveries.v1': topic(delivery, (d) => d.alert_id, { retention_ms: 30 * DAY_MS }),
  'alerts.v1': topic(alert, (a) => a.alert_id, { retention_ms: FOREVER }),
  'alert-actions.v1': topic(alertAction, (a) => a.alert_id ?? a.response_id ?? a.action_id, { retention_ms: FOREVER }),
  'responses.v1': topic(response, (r) => `${r.target.provider} ${r.target.kind} ${r.target.id}`, { retention_ms: FOREVER }),
  'commands.v1': topic(command, (c) => `${c.target.provider} ${c.target.kind} ${c.target.id}`, { retention_ms: FOREVER }),
} as const

export type TopicName = keyof typeof topics
export type TopicValue<T extends TopicName> = z.infer<(typeof topics)[T]['schema']>
export const topicNames = Object.keys(topics) as TopicName[]

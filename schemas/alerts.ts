/** alerts.v1: the lifecycle of one incident of one entity; deduplicated, explained, with the money at risk. */
import { z } from 'zod'
import { evidence } from './findings.ts'
import { count, epochMs, label, severity, usd, uuid } from './scalars.ts'

export const notificationKind = z.enum(['firing', 'raised', 'ongoing', 'resolved'])
export type NotificationKind = z.infer<typeof notificationKind>

/** What the lifecycle must remember about an incident, so that its state is rebuilt from alerts.v1 alone and a replay is a no-op. */
const alertMemory = z.object({
  from: epochMs.describe('start of the first window'),
  until: epochMs.describe('end of the last window'),
  last_detected_at: epochMs,
  told: count.describe('notifications so far'),
  told_at: epochMs.nullable(),
  told_severity: severity.nullable(),
  told_sinks: z.array(label).describe('who heard of it, so that the same hear of its end'),
  silence_at: epochMs.nullable().describe('when the silence in force was set'),
  settled_until: epochMs.nullable().describe('windows up to here are summed up in settled_usd and no longer listed'),
  settled_usd: usd.nullable(),
  windows: z.array(z.object({ finding_id: uuid, revision: count, from: epochMs, until: epochMs, spend_usd: usd.nullable() })).describe('the newest windows'),
})

export const alert = z
  .object({
    alert_id: uuid.describe('hash of detector, entity and the first firing window'),
    revision: count,
    state: z.enum(['firing', 'ongoing', 'resolved']),
    detector: label,
    entity: label,
    severity,
    reason: label,
    title: label,
    summary: z.string().max(2000),
    attack: z.array(z.string().max(32)),
    team_id: label.nullable(),
    service: label.nullable(),
    owner_ref: label.nullable(),
    api_key_id: label.nullable(),
    provider: label.nullable(),
    spend_usd_per_minute: usd.nullable(),
    spend_usd: usd.nullable().describe('spent in all windows of the alert'),
    evidence,
    finding_ids: z.array(uuid),
    first_event_time: epochMs,
    last_event_time: epochMs,
    opened_at: epochMs,
    updated_at: epochMs,
    resolved_at: epochMs.nullable(),
    backfill: z.boolean(),
    run_id: label.nullable(),
    acked_by: label.nullable(),
    acked_at: epochMs.nullable(),
    silenced_until: epochMs.nullable(),
    notification: z
      .object({ notification_id: uuid, kind: notificationKind, sinks: z.array(label) })
      .nullable()
      .describe('what this revision has to tell, and whom; null: nothing'),
    memory: alertMemory.optional().describe("the lifecycle's own book-keeping; people need not read it"),
  })
  .describe('One incident, as the SOC sees it')
export type Alert = z.infer<typeof alert>

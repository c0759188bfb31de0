/** alerts.v1: the lifecycle of one incident of one entity; deduplicated, explained, with the money at risk. */
import { z } from 'zod'
import { evidence } from './findings.ts'
import { count, epochMs, label, severity, usd, uuid } from './scalars.ts'

export const notificationKind = z.enum(['firing', 'raised', 'ongoing', 'resolved'])
export type NotificationKind = z.infer<typeof notificationKind>

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
  })
  .describe('One incident, as the SOC sees it')
export type Alert = z.infer<typeof alert>

/** The notification for machines: the body of the webhook sink. Under 20 kB, what the Standard Webhooks specification asks for. */
import { isoTime } from '../../runtime/clock.ts'
import { plainText } from '../../runtime/text.ts'
import type { Evidence } from '../../schemas/findings.ts'
import type { Notification } from '../sink.ts'

const EVIDENCE_BYTES = 12_000

/** `type` is alert.firing, alert.raised, alert.ongoing or alert.resolved. */
export function jsonOf(notification: Notification, consoleUrl: string | null): string {
  const { alert, proposal } = notification
  return JSON.stringify({
    type: `alert.${notification.kind}`,
    timestamp: isoTime(alert.updated_at),
    data: {
      notification_id: notification.notification_id,
      sequence: notification.sequence,
      alert_id: alert.alert_id,
      state: alert.state,
      severity: alert.severity,
      detector: alert.detector,
      reason: plain(alert.reason),
      entity: plain(alert.entity),
      title: plain(alert.title),
      summary: plainText(alert.summary, 2000),
      attack: alert.attack.slice(0, 20),
      team_id: plain(alert.team_id),
      service: plain(alert.service),
      owner_ref: plain(alert.owner_ref),
      api_key_id: plain(alert.api_key_id),
      provider: plain(alert.provider),
      spend_usd_per_minute: alert.spend_usd_per_minute,
      spend_usd: alert.spend_usd,
      first_event_time: alert.first_event_time,
      last_event_time: alert.last_event_time,
      opened_at: alert.opened_at,
      resolved_at: alert.resolved_at,
      evidence: boundedEvidence(alert.evidence),
      evidence_url: consoleUrl === null ? null : `${consoleUrl.replace(/\/$/, '')}/alerts/${alert.alert_id}`,
      proposal:
        proposal === null
          ? null
          : {
              response_id: proposal.response_id,
              step: proposal.step,
              action: plain(proposal.action),
              target: { kind: plain(proposal.target.kind), id: plain(proposal.target.id), provider: plain(proposal.target.provider) },
              dry_run: proposal.dry_run,
              policy: proposal.policy,
              expires_at: proposal.expires_at,
            },
    },
  })
}

const plain = (text: string | null): string | null => (text === null ? null : plainText(text, 500))

/** Members are added until the budget is used up; `evidence_cut` says that there is more in the alert itself. */
function boundedEvidence(evidence: Evidence): Record<string, unknown> {
  const kept: Record<string, unknown> = {}
  let size = 0
  for (const [name, value] of Object.entries(evidence)) {
    const clean = cleaned(value)
    size += Buffer.byteLength(JSON.stringify(clean)) + name.length
    if (size > EVIDENCE_BYTES) return { ...kept, evidence_cut: true }
    kept[plainText(name, 120)] = clean
  }
  return kept
}

/** Names of members come from outside as well. */
function cleaned(value: unknown): unknown {
  if (typeof value === 'string') return plainText(value, 500)
  if (Array.isArray(value)) return value.map(cleaned)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [plainText(name, 120), cleaned(item)]))
}

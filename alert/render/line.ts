/** One line for a terminal or a log: time, severity, detector id, team, key fingerprint, one sentence, dollars per minute. */
import { isoTime } from '../../runtime/clock.ts'
import type { Severity } from '../../schemas/scalars.ts'
import type { Notification } from '../sink.ts'
import { proposalLine, shown } from './document.ts'
import { showUsd } from './money.ts'

const COLOURS: Record<Severity, string> = { info: '36', low: '36', medium: '33', high: '31', critical: '1;31' }

/** Ends with a line feed. A standing proposal adds a second line with its action and `dry-run`, until the incident is over: at its end it would read like a new one. */
export function lineOf(notification: Notification, colour: boolean): string {
  const { alert, kind, proposal } = notification
  const severity = alert.severity.padEnd(8)
  const parts = [
    isoTime(alert.updated_at),
    colour ? `\u001b[${COLOURS[alert.severity]}m${severity}\u001b[0m` : severity,
    alert.detector,
    shown(alert.team_id ?? '-', 60),
    shown(alert.api_key_id ?? alert.entity, 80),
    `${kind === 'firing' ? '' : `${kind}: `}${shown(alert.summary, 300)}`,
    alert.spend_usd_per_minute === null ? 'cost unknown' : `${showUsd(alert.spend_usd_per_minute)}/min`,
  ]
  return `${parts.join('  ')}\n${proposal === null || proposal.step !== 'proposed' || kind === 'resolved' ? '' : `  proposal: ${proposalLine(proposal)}  (${proposal.response_id})\n`}`
}

/**
 * What a notification says, once for all channels: a headline, the facts, the evidence, what to do next. Channels only decide
 * how it looks. Everything that came from outside is made plain here (no control characters, no live links, capped).
 */
import { isoTime } from '../../runtime/clock.ts'
import { plainText } from '../../runtime/text.ts'
import type { Alert } from '../../schemas/alerts.ts'
import type { Evidence } from '../../schemas/findings.ts'
import type { Response } from '../../schemas/responses.ts'
import type { Notification } from '../sink.ts'
import { showUsd } from './money.ts'

const FIELD = 500
const CELL = 120
const MESSAGE = 3000
const EVIDENCE_ROWS = 30

export interface AlertDocument {
  /** The same for all messages of an alert, so that mail programs keep them in one thread. */
  subject: string
  headline: string
  summary: string
  facts: readonly (readonly [name: string, value: string])[]
  evidence: readonly (readonly [name: string, value: string])[]
  proposal: readonly (readonly [name: string, value: string])[]
  /** Lines that a person can paste into a terminal, or a link to our own console. */
  next: readonly (readonly [what: string, how: string])[]
}

const WORDS = { firing: 'New', raised: 'Worse', ongoing: 'Still going on', resolved: 'Over' } as const

export function alertDocument(notification: Notification, consoleUrl: string | null): AlertDocument {
  const { alert, kind, proposal } = notification
  return {
    subject: `[tokenwatch] ${alert.detector}: ${shown(alert.title, 120)}`,
    headline: `${WORDS[kind]}: ${alert.severity} ${alert.detector}, ${shown(alert.title, 200)}`,
    summary: shown(alert.summary, MESSAGE),
    facts: factsOf(alert),
    evidence: evidenceRows(alert.evidence),
    proposal: proposal === null ? [] : proposalRows(proposal),
    next: nextSteps(alert, proposal, consoleUrl),
  }
}

/** Untrusted text for people: plain, capped, links defanged. */
export const shown = (text: string, max = FIELD): string => defang(plainText(text, max))

/** hxxps://evil[.]example/: readable, and no program makes a link of it. */
export const defang = (text: string): string =>
  text
    .replace(/\b(https?|ftp):\/\/([^\s/]*)/gi, (_, scheme: string, host: string) => `${scheme.replace(/t/gi, 'x')}://${host.replaceAll('.', '[.]')}`)
    .replace(/\bwww\./gi, 'www[.]')

/** "disable-key api-key fp_1 (openai), dry-run". */
export function proposalLine(proposal: Response): string {
  const { target } = proposal
  const mark = proposal.dry_run ? 'dry-run' : proposal.step === 'proposed' ? 'waits for approval' : proposal.step
  return `${shown(proposal.action, CELL)} ${shown(target.kind, CELL)} ${shown(target.id, CELL)} (${shown(target.provider, CELL)}), ${mark}`
}

function factsOf(alert: Alert): [string, string][] {
  const optional: [string, string | null][] = [
    ['Team', alert.team_id],
    ['Service', alert.service],
    ['Key', alert.api_key_id],
    ['Owner', alert.owner_ref],
    ['Provider', alert.provider],
  ]
  return [
    ['Severity', alert.severity],
    ['State', alert.state],
    ...(alert.acked_by === null ? [] : [['Taken by', shown(alert.acked_by)] as [string, string]]),
    ...(alert.silenced_until === null ? [] : [['Silent until', isoTime(alert.silenced_until)] as [string, string]]),
    ['Detector', `${alert.detector} (${shown(alert.reason)})`],
    ['Entity', shown(alert.entity)],
    ...optional.filter((row): row is [string, string] => row[1] !== null).map(([name, value]): [string, string] => [name, shown(value)]),
    ['Cost per minute', showUsd(alert.spend_usd_per_minute)],
    ['Spent in this incident', showUsd(alert.spend_usd)],
    ['First event', isoTime(alert.first_event_time)],
    ['Last event', isoTime(alert.last_event_time)],
    ...(alert.attack.length === 0 ? [] : [['Techniques', alert.attack.map((id) => shown(id, 32)).join(', ')] as [string, string]]),
    ['Alert', alert.alert_id],
  ]
}

function evidenceRows(evidence: Evidence): [string, string][] {
  return Object.entries(evidence)
    .slice(0, EVIDENCE_ROWS)
    .map(([name, value]) => [shown(name, CELL), shown(evidenceText(value))])
}

function evidenceText(value: Evidence[string]): string {
  if (Array.isArray(value)) return value.slice(0, 10).map(rowText).join('; ') + (value.length > 10 ? `; and ${value.length - 10} more` : '')
  return rowText(value)
}

const rowText = (value: unknown): string =>
  typeof value === 'object' && value !== null
    ? Object.entries(value)
        .map(([name, cell]) => `${name} ${String(cell)}`)
        .join(', ')
    : String(value)

function proposalRows(proposal: Response): [string, string][] {
  const blast = proposal.blast_radius
  const unknown = 'not known'
  return [
    ['Proposed action', proposalLine(proposal)],
    ...(proposal.expires_at === null ? [] : [['Decide before', isoTime(proposal.expires_at)] as [string, string]]),
    ['Callers it would cut (24 h)', blast?.callers == null ? unknown : String(blast.callers)],
    ['Services', blast === null || blast.services.length === 0 ? unknown : blast.services.map((name) => shown(name, CELL)).join(', ')],
    ['Teams', blast === null || blast.teams.length === 0 ? unknown : blast.teams.map((name) => shown(name, CELL)).join(', ')],
    ['Spend of the target (24 h)', showUsd(blast?.spend_usd_24h ?? null)],
  ]
}

function nextSteps(alert: Alert, proposal: Response | null, consoleUrl: string | null): [string, string][] {
  const steps: [string, string][] = [
    ['Read it', `npx tokenwatch alerts show ${alert.alert_id}`],
    ['Take it', `npx tokenwatch alerts ack ${alert.alert_id}`],
  ]
  if (proposal !== null && proposal.step === 'proposed') {
    if (proposal.dry_run) steps.push(['See what would be done (dry-run)', 'npx tokenwatch responses list'])
    else steps.push(['Carry it out', `npx tokenwatch responses approve ${proposal.response_id}`], ['Refuse it', `npx tokenwatch responses deny ${proposal.response_id}`])
  }
  if (consoleUrl !== null) steps.push(['Console', `${consoleUrl.replace(/\/$/, '')}/alerts/${alert.alert_id}`])
  return steps
}

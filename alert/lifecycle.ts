/**
 * The life of an alert: firing → ongoing → resolved. Pure: what happens depends on the alert, the input and the policy alone,
 * times come from the input, ids from names. Handing over an input twice, or an older one after a newer one, changes nothing,
 * so a crash between any two durable steps costs a repetition and never a second page.
 */
import { nameUuid } from '../runtime/ids.ts'
import type { AlertAction } from '../schemas/alert-actions.ts'
import type { Alert, NotificationKind } from '../schemas/alerts.ts'
import type { Finding } from '../schemas/findings.ts'
import type { Severity } from '../schemas/scalars.ts'
import { addUsd } from './render/money.ts'

export interface LifecyclePolicy {
  /** An incident without findings for so long is over. */
  resolve_after_ms: number
  /** Remind of an incident that nobody acknowledged; null: never. */
  repeat_after_ms: number | null
  /** Less severe alerts are stored and not told. */
  min_severity: Severity
  /** Names of the sinks that hear of this alert. */
  route(alert: Alert): readonly string[]
  /** A silence of the config covers the alert at this time. */
  silenced(alert: Alert, at: number): boolean
}

export type LifecycleInput = Finding | AlertAction | { tick: number }

/** store: a new revision for alerts.v1; notify: it carries a notification. */
export type Effect = 'store' | 'notify'

export interface Transition {
  alert: Alert | undefined
  /** kebab-case: why it changed or did not. */
  reason: string
  effects: readonly Effect[]
}

type Memory = NonNullable<Alert['memory']>
type Live = Alert & { memory: Memory }

const RANK: Record<Severity, number> = { info: 0, low: 1, medium: 2, high: 3, critical: 4 }
/** Windows that an alert lists; older ones are summed up, or a week-long incident would copy a growing list with every revision. */
const LISTED_WINDOWS = 100
const DEFAULT_SILENCE_MS = 24 * 3_600_000

export const severityAtLeast = (severity: Severity, least: Severity): boolean => RANK[severity] >= RANK[least]

/** `alert` undefined and a finding: a new incident. Which alert an input belongs to is decided in incidents.ts. */
export function transition(alert: Alert | undefined, input: LifecycleInput, policy: LifecyclePolicy): Transition {
  if (alert === undefined) return 'finding_id' in input ? opened(input, policy) : same(undefined, 'no-alert')
  const live: Live = { ...alert, memory: memoryOf(alert) }
  if ('finding_id' in input) return observed(live, input, policy)
  if ('act' in input) return acted(live, input)
  return ticked(live, input.tick, policy)
}

/** Ends an incident now: no findings for resolve_after, or a later incident of the same entity has begun. */
export function resolve(alert: Alert, at: number, policy: LifecyclePolicy, reason: string): Transition {
  const live: Live = { ...alert, memory: memoryOf(alert) }
  if (live.state === 'resolved') return same(alert, 'already-resolved')
  const next: Live = { ...live, state: 'resolved', resolved_at: at }
  const quiet = live.backfill || live.memory.told === 0 || silencedAt(live, at, policy)
  return changed(live, next, at, reason, quiet ? null : { kind: 'resolved', name: '', sinks: live.memory.told_sinks })
}

export const memoryOf = (alert: Alert): Memory =>
  alert.memory ?? {
    from: alert.first_event_time,
    until: alert.last_event_time,
    last_detected_at: alert.updated_at,
    told: 0,
    told_at: null,
    told_severity: null,
    told_sinks: [],
    silence_at: null,
    settled_until: null,
    settled_usd: null,
    windows: [],
  }

function opened(finding: Finding, policy: LifecyclePolicy): Transition {
  const { backfill } = finding
  const parts = [finding.detector, finding.entity, finding.window_start]
  const fresh: Live = {
    // A backfilled incident has its own id: the same hour may be alerted live as well, and only that one pages.
    alert_id: backfill ? nameUuid(...parts, 'backfill') : nameUuid(...parts),
    revision: 0,
    state: 'firing',
    detector: finding.detector,
    entity: finding.entity,
    ...wording(finding),
    severity: finding.severity,
    team_id: finding.team_id,
    service: finding.service,
    owner_ref: finding.owner_ref,
    api_key_id: finding.api_key_id,
    provider: finding.provider,
    spend_usd_per_minute: finding.spend_usd_per_minute,
    spend_usd: finding.spend_usd,
    finding_ids: [finding.finding_id],
    first_event_time: finding.first_event_time,
    last_event_time: finding.last_event_time,
    opened_at: finding.detected_at,
    updated_at: finding.detected_at,
    resolved_at: null,
    backfill,
    run_id: finding.run_id,
    acked_by: null,
    acked_at: null,
    silenced_until: null,
    notification: null,
    memory: {
      from: finding.window_start,
      until: finding.window_end,
      last_detected_at: finding.detected_at,
      told: 0,
      told_at: null,
      told_severity: null,
      told_sinks: [],
      silence_at: null,
      settled_until: null,
      settled_usd: null,
      windows: [windowOf(finding)],
    },
  }
  return changed(undefined, fresh, finding.detected_at, 'opened', newsOf(fresh, finding.detected_at, policy, false))
}

function observed(alert: Live, finding: Finding, policy: LifecyclePolicy): Transition {
  const { memory } = alert
  const known = memory.windows.find((window) => window.finding_id === finding.finding_id)
  if (known !== undefined && known.revision >= finding.revision) return same(alert, 'known-revision')
  if (known === undefined && memory.settled_until !== null && finding.window_end <= memory.settled_until) return same(alert, 'settled-window')
  const next = merged(alert, finding)
  // A late revision of an incident that is over corrects the figures and wakes nobody.
  if (alert.state === 'resolved' && !alert.backfill) return changed(alert, { ...next, state: 'resolved', resolved_at: alert.resolved_at }, finding.detected_at, 'corrected', null)
  const at = Math.max(finding.detected_at, alert.updated_at)
  return changed(alert, next, at, known === undefined ? 'another-window' : 'revised', newsOf(next, at, policy, false))
}

function acted(alert: Live, action: AlertAction): Transition {
  if (action.act === 'ack') {
    if (alert.acked_at !== null) return same(alert, 'already-acknowledged')
    return changed(alert, { ...alert, acked_by: action.who, acked_at: action.at }, action.at, 'acknowledged', null)
  }
  if (action.act !== 'silence') return same(alert, 'not-for-alerts')
  if (alert.memory.silence_at !== null && action.at <= alert.memory.silence_at) return same(alert, 'older-silence')
  const next: Live = { ...alert, silenced_until: action.until ?? action.at + DEFAULT_SILENCE_MS, memory: { ...alert.memory, silence_at: action.at } }
  return changed(alert, next, action.at, 'silenced', null)
}

function ticked(alert: Live, at: number, policy: LifecyclePolicy): Transition {
  if (alert.state === 'resolved') return same(alert, 'already-resolved')
  if (at >= alert.memory.last_detected_at + policy.resolve_after_ms) return resolve(alert, at, policy, 'quiet-long-enough')
  const news = newsOf(alert, at, policy, true)
  return news === null ? same(alert, 'nothing-due') : changed(alert, alert, at, news.kind === 'ongoing' ? 'reminder' : 'silence-ended', news)
}

interface News {
  kind: NotificationKind
  /** With the alert and the kind it names the notification for ever. */
  name: string
  sinks: readonly string[]
}

/** What has to be told now. Each severity is told once, reminders are counted, so the ids of a replay are the same. */
function newsOf(alert: Live, at: number, policy: LifecyclePolicy, mayRemind: boolean): News | null {
  const { memory } = alert
  if (alert.backfill || !severityAtLeast(alert.severity, policy.min_severity) || silencedAt(alert, at, policy)) return null
  const sinks = policy.route(alert)
  if (sinks.length === 0) return null
  if (memory.told === 0) return alert.acked_at === null ? { kind: 'firing', name: '', sinks } : null
  // An acknowledgement covers what the person saw; a worse severity is news again.
  if (memory.told_severity !== null && RANK[alert.severity] > RANK[memory.told_severity]) return { kind: 'raised', name: alert.severity, sinks }
  const due = policy.repeat_after_ms !== null && memory.told_at !== null && at >= memory.told_at + policy.repeat_after_ms
  return mayRemind && due && alert.acked_at === null ? { kind: 'ongoing', name: String(memory.told), sinks } : null
}

const silencedAt = (alert: Alert, at: number, policy: LifecyclePolicy): boolean => (alert.silenced_until !== null && at < alert.silenced_until) || policy.silenced(alert, at)

const windowOf = (finding: Finding): Memory['windows'][number] => ({
  finding_id: finding.finding_id,
  revision: finding.revision,
  from: finding.window_start,
  until: finding.window_end,
  spend_usd: finding.spend_usd,
})

const wording = (finding: Finding) => ({ reason: finding.reason, title: finding.title, summary: finding.summary, attack: finding.attack, evidence: finding.evidence })

function merged(alert: Live, finding: Finding): Live {
  const { memory } = alert
  const listed = [...memory.windows.filter((window) => window.finding_id !== finding.finding_id), windowOf(finding)].sort(
    (left, right) => left.from - right.from || (left.finding_id < right.finding_id ? -1 : 1),
  )
  const settled = listed.slice(0, Math.max(0, listed.length - LISTED_WINDOWS))
  const windows = listed.slice(settled.length)
  const settledUsd = addUsd([memory.settled_usd, ...settled.map((window) => window.spend_usd)])
  const newest = finding.window_start >= (windows.at(-1)?.from ?? 0)
  const worst = RANK[finding.severity] >= RANK[alert.severity]
  return {
    ...alert,
    ...(worst ? wording(finding) : {}),
    state: 'ongoing',
    resolved_at: null,
    severity: worst ? finding.severity : alert.severity,
    team_id: finding.team_id ?? alert.team_id,
    service: finding.service ?? alert.service,
    owner_ref: finding.owner_ref ?? alert.owner_ref,
    api_key_id: finding.api_key_id ?? alert.api_key_id,
    provider: finding.provider ?? alert.provider,
    spend_usd_per_minute: newest ? finding.spend_usd_per_minute : alert.spend_usd_per_minute,
    spend_usd: addUsd([settledUsd, ...windows.map((window) => window.spend_usd)]),
    finding_ids: windows.map((window) => window.finding_id),
    first_event_time: Math.min(alert.first_event_time, finding.first_event_time),
    last_event_time: Math.max(alert.last_event_time, finding.last_event_time),
    memory: {
      ...memory,
      from: Math.min(memory.from, finding.window_start),
      until: Math.max(memory.until, finding.window_end),
      last_detected_at: Math.max(memory.last_detected_at, finding.detected_at),
      settled_until: settled.length === 0 ? memory.settled_until : Math.max(memory.settled_until ?? 0, ...settled.map((window) => window.until)),
      settled_usd: settledUsd,
      windows,
    },
  }
}

const same = (alert: Alert | undefined, reason: string): Transition => ({ alert, reason, effects: [] })

function changed(before: Live | undefined, next: Live, at: number, reason: string, news: News | null): Transition {
  const { memory } = next
  const alert: Live = {
    ...next,
    revision: before === undefined ? 0 : before.revision + 1,
    updated_at: Math.max(at, before?.updated_at ?? 0),
    notification: news === null ? null : { notification_id: nameUuid(next.alert_id, news.kind, news.name), kind: news.kind, sinks: [...news.sinks] },
    memory:
      news === null
        ? memory
        : { ...memory, told: memory.told + 1, told_at: at, told_severity: next.severity, told_sinks: [...new Set([...memory.told_sinks, ...news.sinks])].sort() },
  }
  return { alert, reason, effects: news === null ? ['store'] : ['store', 'notify'] }
}

/** Which incident an input belongs to, and the incidents that are known: rebuilt from alerts.v1, the newest revision wins. */
import type { Bus } from '../bus/bus.ts'
import type { AlertAction } from '../schemas/alert-actions.ts'
import type { Alert } from '../schemas/alerts.ts'
import type { Finding } from '../schemas/findings.ts'
import { type LifecyclePolicy, memoryOf, resolve, type Transition, transition } from './lifecycle.ts'

/** Findings are kept 30 days on the bus; an incident that ended before that cannot get another revision. */
const FORGET_AFTER_MS = 31 * 86_400_000

export interface Incidents {
  byId: Map<string, Alert>
  /** detector + entity → alerts in the order of their first window. */
  byEntity: Map<string, Alert[]>
}

export const noIncidents = (): Incidents => ({ byId: new Map(), byEntity: new Map() })

export async function readIncidents(bus: Bus, signal: AbortSignal): Promise<Incidents> {
  const incidents = noIncidents()
  await bus.replay(
    'alerts.v1',
    (batch) => {
      for (const alert of batch.records) remember(incidents, alert)
    },
    signal,
  )
  return incidents
}

/** Takes a revision in; an older one than the known is ignored. */
export function remember(incidents: Incidents, alert: Alert): void {
  const known = incidents.byId.get(alert.alert_id)
  if (known !== undefined && known.revision >= alert.revision) return
  incidents.byId.set(alert.alert_id, alert)
  const key = entityKey(alert)
  const others = (incidents.byEntity.get(key) ?? []).filter((other) => other.alert_id !== alert.alert_id)
  incidents.byEntity.set(
    key,
    [...others, alert].sort((left, right) => memoryOf(left).from - memoryOf(right).from),
  )
}

/** Drops incidents that nothing can change any more. */
export function forgetOld(incidents: Incidents, now: number): void {
  for (const [id, alert] of incidents.byId) {
    if (alert.state !== 'resolved' || alert.updated_at > now - FORGET_AFTER_MS) continue
    incidents.byId.delete(id)
    const key = entityKey(alert)
    const rest = (incidents.byEntity.get(key) ?? []).filter((other) => other.alert_id !== id)
    if (rest.length === 0) incidents.byEntity.delete(key)
    else incidents.byEntity.set(key, rest)
  }
}

/** What a finding does to the incidents of its entity; more than one transition when it also ends the incident before it. */
export function applyFinding(incidents: Incidents, finding: Finding, policy: LifecyclePolicy): Transition[] {
  const chain = incidents.byEntity.get(entityKey(finding)) ?? []
  const holder = chain.find(
    (alert) => memoryOf(alert).windows.some((window) => window.finding_id === finding.finding_id) && (alert.backfill === finding.backfill || finding.backfill),
  )
  // The live path has told this window already: reading the same log again as a file adds nothing.
  if (holder !== undefined && holder.backfill !== finding.backfill) return [{ alert: holder, reason: 'known-live', effects: [] }]
  if (holder !== undefined) return [transition(holder, finding, policy)]
  if (chain.some((alert) => alert.backfill === finding.backfill && isSettled(alert, finding))) return []
  const near = chain.filter((alert) => alert.backfill === finding.backfill && (alert.backfill || alert.state !== 'resolved') && touches(alert, finding, policy))
  const home = near.at(-1)
  if (home !== undefined) return [transition(home, finding, policy)]
  const over = chain.filter((alert) => alert.backfill === finding.backfill && alert.state !== 'resolved' && memoryOf(alert).until + policy.resolve_after_ms < finding.window_start)
  return [...over.map((alert) => resolve(alert, finding.detected_at, policy, 'a-later-incident-began')), transition(undefined, finding, policy)]
}

export function applyAction(incidents: Incidents, action: AlertAction, policy: LifecyclePolicy): Transition[] {
  const alert = action.alert_id === null ? undefined : incidents.byId.get(action.alert_id)
  return alert === undefined ? [] : [transition(alert, action, policy)]
}

export function applyTick(incidents: Incidents, tick: number, policy: LifecyclePolicy): Transition[] {
  const results: Transition[] = []
  for (const alert of incidents.byId.values()) {
    if (alert.state !== 'resolved') results.push(transition(alert, { tick }, policy))
  }
  return results
}

const touches = (alert: Alert, finding: Finding, policy: LifecyclePolicy): boolean => {
  const { from, until } = memoryOf(alert)
  return finding.window_start <= until + policy.resolve_after_ms && finding.window_end >= from - policy.resolve_after_ms
}

/** Inside a part of the incident whose windows are summed up already: a very old repetition. */
const isSettled = (alert: Alert, finding: Finding): boolean => {
  const { from, settled_until } = memoryOf(alert)
  return settled_until !== null && finding.window_start >= from && finding.window_end <= settled_until
}

const entityKey = (value: { detector: string; entity: string }): string => `${value.detector}\n${value.entity}`

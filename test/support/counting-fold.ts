/** The simplest fold: events per key and minute, told when the minute closes. An oracle for the runner: a count is easy to predict. */
import type { UsageEvent } from '../../schemas/usage.ts'
import type { Fold, FoldedFinding } from '../../stream/fold.ts'

const MINUTE_MS = 60_000
type Counts = Map<number, { count: number; last: number }>

export const countingFold: Fold = {
  id: 'counting',
  version: '1',
  topics: ['usage.v1'],
  keys: (event) => [event.owner_ref],
  step(given, input, key, { late }) {
    const state = (given ?? new Map()) as Counts
    const findings: FoldedFinding[] = []
    if ('event' in input) {
      const event = input.event as UsageEvent
      if (event.model === 'breaks') throw new Error('this fold cannot take it')
      const minute = event.event_time - (event.event_time % MINUTE_MS)
      const before = state.get(minute)
      state.set(minute, { count: (before?.count ?? 0) + 1, last: Math.max(before?.last ?? 0, event.event_time) })
    } else {
      for (const [minute, { count, last }] of [...state].sort(([a], [b]) => a - b)) {
        if (minute + MINUTE_MS > input.tick) continue
        state.delete(minute)
        findings.push(findingOf(key, minute, last, count, late))
      }
    }
    const next = Math.min(...state.keys()) + MINUTE_MS
    return Number.isFinite(next) ? { state, findings, wake_at: next } : { state, findings }
  },
  encode: (state) => Buffer.from(JSON.stringify([...(state as Counts)])),
  decode: (bytes) => new Map(JSON.parse(Buffer.from(bytes).toString('utf8')) as [number, { count: number; last: number }][]),
}

function findingOf(entity: string, minute: number, last: number, count: number, late: number): FoldedFinding {
  return {
    revision: 1,
    entity,
    window_start: minute,
    window_end: minute + MINUTE_MS,
    first_event_time: minute,
    last_event_time: last,
    severity: 'info',
    reason: 'counted',
    title: 'Counted',
    summary: `${count} events`,
    attack: [],
    team_id: null,
    service: null,
    owner_ref: entity,
    api_key_id: null,
    provider: null,
    spend_usd_per_minute: null,
    spend_usd: null,
    evidence: { count, late },
    baseline: { buckets: 0, from: null, note: '' },
  }
}

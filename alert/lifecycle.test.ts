import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { findingOf, MINUTE, NOON } from '../test/support/alert-fixtures.ts'
import { nameUuid } from '../runtime/ids.ts'
import type { AlertAction } from '../schemas/alert-actions.ts'
import { alert as alertSchema, type Alert } from '../schemas/alerts.ts'
import type { Finding } from '../schemas/findings.ts'
import type { Severity } from '../schemas/scalars.ts'
import { alertsConfig } from './config.ts'
import { applyAction, applyFinding, applyTick, type Incidents, noIncidents, remember } from './incidents.ts'
import type { LifecyclePolicy } from './lifecycle.ts'
import { lifecyclePolicy } from './routing.ts'

const policyOf = (config: unknown = {}): LifecyclePolicy => lifecyclePolicy(alertsConfig.parse(config))

type Input = { finding: Finding } | { action: AlertAction } | { tick: number }

/** Folds one input and returns the revisions that would be published. */
function feed(incidents: Incidents, input: Input, policy: LifecyclePolicy): Alert[] {
  const results =
    'finding' in input
      ? applyFinding(incidents, input.finding, policy)
      : 'action' in input
        ? applyAction(incidents, input.action, policy)
        : applyTick(incidents, input.tick, policy)
  const published: Alert[] = []
  for (const { alert, effects } of results) {
    if (alert === undefined || effects.length === 0) continue
    remember(incidents, alert)
    published.push(alert)
  }
  return published
}

function run(inputs: readonly Input[], policy = policyOf()) {
  const incidents = noIncidents()
  const published = inputs.flatMap((input) => feed(incidents, input, policy))
  const told = published.flatMap((alert) => (alert.notification === null ? [] : [alert.notification]))
  return { alerts: [...incidents.byId.values()], published, told, kinds: told.map((notification) => notification.kind) }
}

const at = (minute: number, change: Partial<Finding> = {}): { finding: Finding } => ({ finding: findingOf({ window_start: NOON + minute * MINUTE, ...change }) })
const tick = (minute: number): { tick: number } => ({ tick: NOON + minute * MINUTE })
const act = (change: Partial<AlertAction>): { action: AlertAction } => ({
  action: {
    action_id: nameUuid('act', change.act ?? 'ack', change.at ?? 0),
    act: 'ack',
    alert_id: null,
    response_id: null,
    who: 'ana',
    why: null,
    at: NOON,
    until: null,
    ...change,
  },
})
const ALERT_ID = nameUuid('token-spike', 'key:fp_0123456789abcdef', NOON)

describe('an incident', () => {
  it('is told once at once, gathers its windows, and ends after silence', () => {
    const result = run([at(0), at(1), at(2), tick(10), tick(40)])
    expect(result.kinds).toEqual(['firing', 'resolved'])
    expect(result.alerts).toHaveLength(1)
    const [alert] = result.alerts
    expect(alert).toMatchObject({ alert_id: ALERT_ID, state: 'resolved', revision: 3, spend_usd: '37.500000000000', resolved_at: NOON + 40 * MINUTE })
    expect(alertSchema.parse(alert)).toEqual(alert)
  })

  it('counts the newest revision of a window only', () => {
    const result = run([at(0), at(0, { revision: 2, spend_usd: '20' }), at(0, { revision: 1, spend_usd: '15' })])
    expect(result.alerts[0]?.spend_usd).toBe('20.000000000000')
    expect(result.kinds).toEqual(['firing'])
  })

  it('is told again when it gets worse, and only then', () => {
    const result = run([at(0, { severity: 'medium' }), at(1, { severity: 'low' }), at(2, { severity: 'critical' }), at(3, { severity: 'high' })])
    expect(result.kinds).toEqual(['firing', 'raised'])
    expect(result.alerts[0]?.severity).toBe('critical')
  })

  it('that begins after a gap is a new one, and ends the one before', () => {
    const result = run([at(0), at(45)])
    expect(result.alerts.map((alert) => alert.state)).toEqual(['resolved', 'firing'])
    expect(result.kinds).toEqual(['firing', 'resolved', 'firing'])
  })

  it('is remembered of until somebody takes it', () => {
    const busy = (minute: number) => at(minute, { severity: 'high' })
    const ongoing = [0, 20, 40, 60, 80, 100, 120, 140, 160, 180, 200, 220, 235].map(busy)
    expect(run([...ongoing, tick(239), tick(242)]).kinds).toEqual(['firing', 'ongoing'])
    expect(run([...ongoing, act({ alert_id: ALERT_ID, at: NOON + 236 * MINUTE }), tick(242)]).kinds).toEqual(['firing'])
    expect(run([...ongoing, tick(242)], policyOf({ repeat_after: 'never' })).kinds).toEqual(['firing'])
  })
})

describe('what is not told', () => {
  it('backfilled findings make alerts and no notifications', () => {
    const result = run([at(0, { backfill: true, run_id: 'r1' }), at(1, { backfill: true, run_id: 'r1', severity: 'critical' }), tick(40)])
    expect(result.told).toEqual([])
    expect(result.alerts).toMatchObject([{ backfill: true, state: 'resolved', severity: 'critical' }])
  })

  it('the same window live and from a file is one live alert', () => {
    expect(run([at(0), at(0, { backfill: true, run_id: 'r1' })]).alerts).toMatchObject([{ backfill: false, revision: 0 }])
    expect(run([at(0, { backfill: true, run_id: 'r1' }), at(0)]).kinds).toEqual(['firing'])
  })

  it('silences of the config and of people hold back and let go', () => {
    const silenced = policyOf({ silences: [{ teams: ['sea*'], until: '2026-11-22T12:05:00Z', why: 'load test' }] })
    expect(run([at(0), at(1)], silenced).kinds).toEqual([])
    expect(run([at(0), at(1), tick(6)], silenced).kinds).toEqual(['firing'])
    const byPerson = act({ act: 'silence', alert_id: ALERT_ID, at: NOON + MINUTE, until: NOON + 20 * MINUTE })
    expect(run([at(0), byPerson, at(2, { severity: 'critical' })]).kinds).toEqual(['firing'])
    expect(run([at(0), byPerson, at(2, { severity: 'critical' }), tick(21)]).kinds).toEqual(['firing', 'raised'])
  })

  it('what is below min_severity or has no route is stored', () => {
    expect(run([at(0, { severity: 'info' })]).alerts).toHaveLength(1)
    expect(run([at(0, { severity: 'info' }), tick(40)]).kinds).toEqual([])
    const routed = policyOf({
      sinks: { a: { kind: 'terminal' }, b: { kind: 'terminal' } },
      routes: [
        { teams: ['other'], sinks: ['a'] },
        { detectors: ['token-*'], sinks: ['b'] },
      ],
    })
    expect(run([at(0)], routed).told.map((notification) => notification.sinks)).toEqual([['b']])
    expect(run([at(0, { detector: 'geography' })], routed).told).toEqual([])
  })
})

describe('a long incident', () => {
  it('lists its newest windows, keeps the whole sum, and knows old windows again', () => {
    const windows = Array.from({ length: 250 }, (_, minute) => at(minute))
    const { alerts, kinds } = run([...windows, at(3, { revision: 0 }), at(4, { revision: 5, spend_usd: '99' })])
    expect(alerts).toHaveLength(1)
    expect(alerts[0]?.memory?.windows).toHaveLength(100)
    expect(alerts[0]?.spend_usd).toBe('3125.000000000000')
    expect(kinds).toEqual(['firing'])
  })

  it('that is over is not opened again by its own first windows', () => {
    const windows = Array.from({ length: 150 }, (_, minute) => at(minute))
    const again = run([...windows, tick(200), ...windows])
    expect(again.alerts).toHaveLength(1)
    expect(again.kinds).toEqual(['firing', 'resolved'])
  })
})

it('a revision that comes after the end corrects the figures and leaves the time of the end', () => {
  const { alerts, kinds } = run([at(0), tick(40), at(0, { revision: 1, spend_usd: '99' })])
  expect(alerts).toMatchObject([{ state: 'resolved', resolved_at: NOON + 40 * MINUTE, spend_usd: '99.000000000000' }])
  expect(kinds).toEqual(['firing', 'resolved'])
})

describe('replay', () => {
  const entities = ['key:fp_a', 'key:fp_b']
  const severities: Severity[] = ['low', 'medium', 'high', 'critical']
  const inputs = fc.array(
    fc.oneof(
      {
        weight: 6,
        arbitrary: fc.record({
          minute: fc.integer({ min: 0, max: 200 }),
          entity: fc.constantFrom(...entities),
          severity: fc.constantFrom(...severities),
          revision: fc.integer({ min: 0, max: 3 }),
          delay: fc.integer({ min: 0, max: 60 }),
          backfill: fc.boolean(),
        }),
      },
      { weight: 1, arbitrary: fc.record({ tick: fc.integer({ min: 0, max: 300 }) }) },
      {
        weight: 1,
        arbitrary: fc.record({
          act: fc.constantFrom('ack' as const, 'silence' as const),
          of: fc.integer({ min: 0, max: 200 }),
          entity: fc.constantFrom(...entities),
          minute: fc.integer({ min: 0, max: 300 }),
        }),
      },
    ),
    { maxLength: 25 },
  )
  type Sketch =
    | { minute: number; entity: string; severity: Severity; revision: number; delay: number; backfill: boolean }
    | { tick: number }
    | { act: 'ack' | 'silence'; of: number; entity: string; minute: number }
  const arrival = (sketch: Sketch): number => ('tick' in sketch ? sketch.tick : 'act' in sketch ? sketch.minute : sketch.minute + sketch.delay)
  const inputOf = (sketch: Sketch): Input => {
    if ('tick' in sketch) return tick(sketch.tick)
    if ('act' in sketch) {
      const alert_id = nameUuid('token-spike', sketch.entity, NOON + sketch.of * MINUTE)
      return act({ act: sketch.act, alert_id, at: NOON + sketch.minute * MINUTE, until: NOON + (sketch.minute + 20) * MINUTE })
    }
    return at(sketch.minute, {
      entity: sketch.entity,
      severity: sketch.severity,
      revision: sketch.revision,
      backfill: sketch.backfill,
      detected_at: NOON + arrival(sketch) * MINUTE,
    })
  }
  const finalOf = (alerts: readonly Alert[]) => [...alerts].sort((left, right) => (left.alert_id < right.alert_id ? -1 : 1))
  const idsOf = (alerts: readonly Alert[]) => alerts.flatMap((alert) => (alert.notification === null ? [] : [`${alert.notification.notification_id} ${alert.notification.kind}`]))

  it('of everything at any time gives the same alerts and the same notifications, each once', () => {
    fc.assert(
      fc.property(inputs, fc.array(fc.nat(30), { maxLength: 4 }), (sketches, cuts) => {
        const arrived = (sketches as Sketch[]).sort((left, right) => arrival(left) - arrival(right)).map(inputOf)
        // People act on alerts that they have seen.
        const log = arrived.filter((input, index) => !('action' in input) || run(arrived.slice(0, index)).alerts.some((alert) => alert.alert_id === input.action.alert_id))
        const once = run(log)
        expect(new Set(idsOf(once.published)).size).toBe(idsOf(once.published).length)
        // A crash: the batch from `cut` back is handed over again to a process that rebuilt its state from what was published.
        const published: Alert[] = []
        const policy = policyOf()
        let position = 0
        for (const cut of [...cuts.map((value) => Math.min(value, log.length)).sort((left, right) => left - right), log.length]) {
          const incidents = noIncidents()
          for (const alert of published) remember(incidents, structuredClone(alert))
          for (const input of log.slice(Math.max(0, position - 3), cut)) published.push(...feed(incidents, input, policy))
          position = cut
        }
        const last = noIncidents()
        for (const alert of published) remember(last, alert)
        expect(finalOf([...last.byId.values()])).toEqual(finalOf(once.alerts))
        expect(idsOf(published)).toEqual(idsOf(once.published))
      }),
      { numRuns: 300 },
    )
  })
})

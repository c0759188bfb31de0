import { describe, expect, it } from 'vitest'
import { cases as geographyCases } from '../../detect/detectors/geography/cases.ts'
import { cases as burstCases } from '../../detect/detectors/invalid-request-burst/cases.ts'
import { cases as spikeCases } from '../../detect/detectors/token-spike/cases.ts'
import { detectorsConfig } from '../../detect/config.ts'
import { configuredDetectors, type DetectorId, detectorIds } from '../../detect/index.ts'
import type { UsageEvent } from '../../schemas/usage.ts'
import { replay } from '../eval/harness.ts'
import { burn, checker, type Incident, takeover } from '../eval/incidents.ts'
import { DAY, HOUR, quietMonth, START } from '../eval/scenario.ts'
import { arrivals, describeDetectorContract, inTime } from './detector.ts'

const at = START + 7 * DAY + 10 * HOUR
const week = () => quietMonth({ seed: 11, keys: 8, days: 8 })
const incidents: Record<DetectorId, (index: number, from: number) => Incident> = {
  'token-spike': (index, from) => burn({ at: from, key: keyOf(index), index, minutes: 12 }),
  'invalid-request-burst': (index, from) => checker({ at: from, key: keyOf(index), index, seed: index }),
  geography: (index, from) => takeover({ at: from, key: keyOf(index), index }),
}
const keyOf = (index: number): string => `fp_${String(index).padStart(4, '0')}`
const cases = { 'token-spike': spikeCases, 'invalid-request-burst': burstCases, geography: geographyCases }

for (const id of detectorIds) describeDetectorContract(id, cases[id], () => inTime([...week(), ...incidents[id](1, at).events, ...incidents[id](3, at + 3 * HOUR).events]))

describe('all detectors together', () => {
  const all = configuredDetectors(detectorsConfig.parse(undefined))

  it('say nothing in a quiet month', { timeout: 120_000 }, async () => {
    const quiet = quietMonth({ seed: 1, keys: 20 })
    expect(quiet.length).toBeGreaterThan(200_000)
    expect((await replay(all, arrivals(quiet))).told).toEqual([])
  })

  it('say nothing in a quiet month that arrives as one backlog, before event time is known', { timeout: 120_000 }, async () => {
    const quiet = quietMonth({ seed: 2, keys: 8 })
    expect((await replay(all, arrivals(quiet), { lag: 40 * 86_400_000, every: 7 * 86_400_000 })).told).toEqual([])
  })

  const families: [DetectorId, number, number][] = [
    ['token-spike', 10, 100],
    ['invalid-request-burst', 60, 1],
    ['geography', 60, 1],
  ]
  it.each(families)('tell an incident of %s within %i s of its first event, before %i USD are gone', async (id, seconds, usd) => {
    const quiet = quietMonth({ seed: 5, keys: 6, days: 8 })
    for (const index of [0, 4]) {
      const incident = incidents[id](index, at)
      const { told } = await replay(all, arrivals(inTime([...quiet, ...incident.events])))
      const first = told.find(({ detector }) => detector === id)
      expect(first?.entity).toBe(incident.entity)
      expect(first?.severity).not.toBe('low')
      const from = incident.events[0]?.event_time ?? 0
      expect(((first?.arrived ?? Infinity) - from) / 1000).toBeLessThanOrEqual(seconds)
      expect(spent(incident.events, first?.arrived ?? Infinity)).toBeLessThan(usd)
    }
  })
})

const spent = (events: readonly UsageEvent[], until: number): number => events.reduce((sum, event) => sum + (event.event_time <= until ? Number(event.cost_usd ?? 0) : 0), 0)

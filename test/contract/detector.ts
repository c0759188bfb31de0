/** What every detector must keep, whatever it detects. Runs over the registry. */
import { describe, expect, it } from 'vitest'
import { detectorsConfig } from '../../detect/config.ts'
import { configuredDetectors, type DetectorId, detectors } from '../../detect/index.ts'
import { nameUuid } from '../../runtime/ids.ts'
import { seededRandom } from '../../runtime/random.ts'
import { finding } from '../../schemas/findings.ts'
import type { SecretAccessEvent } from '../../schemas/secret-access.ts'
import type { UsageEvent } from '../../schemas/usage.ts'
import type { DetectorCase } from '../../detect/detector-case.ts'
import type { ConfiguredFold, EventTopic } from '../../stream/fold.ts'
import { replay, type ReplayOptions, type Told } from '../eval/harness.ts'

type AnyEvent = UsageEvent | SecretAccessEvent
export const topicOf = (event: AnyEvent): EventTopic => ('requests' in event ? 'usage.v1' : 'secret-access.v1')
export const arrivals = (events: readonly AnyEvent[]) => events.map((event) => ({ topic: topicOf(event), event }))
export const inTime = <E extends { event_time: number; event_id: string }>(events: readonly E[]): E[] =>
  [...events].sort((a, b) => a.event_time - b.event_time || (a.event_id < b.event_id ? -1 : 1))

export const shipped = (id: DetectorId): ConfiguredFold => {
  const [one] = configuredDetectors(detectorsConfig.parse(undefined)).filter(({ spec }) => spec.id === id)
  if (one === undefined) throw new Error(`${id} is off by default`)
  return one
}

export const idsOf = (told: readonly Told[]): string[] => [...new Set(told.map((one) => nameUuid(one.detector, one.entity, one.window_start)))].sort()

/** `scenario`: traffic with at least one incident of this detector in it, in event-time order. */
export function describeDetectorContract(id: DetectorId, cases: readonly DetectorCase[], scenario: () => AnyEvent[]): void {
  const run = (events: readonly AnyEvent[], options?: ReplayOptions) => replay([shipped(id)], arrivals(events), options)

  describe(`detector contract: ${id}`, () => {
    it.each(cases)('$name', async ({ events, expect: wanted }) => {
      const { told } = await run(inTime(events))
      const last = new Map(told.map((one) => [`${one.entity} ${one.window_start}`, one]))
      const found = new Map<string, { entity: string; reason: string; severity: string }>()
      const rank = ['info', 'low', 'medium', 'high', 'critical']
      for (const { entity, reason, severity } of last.values()) {
        const before = found.get(`${entity} ${reason}`)
        if (before === undefined || rank.indexOf(before.severity) < rank.indexOf(severity)) found.set(`${entity} ${reason}`, { entity, reason, severity })
      }
      expect([...found.values()].filter(({ reason }) => !wanted.some((one) => one.reason === reason))).toEqual([])
      expect([...found.values()]).toEqual(expect.arrayContaining(wanted))
    })

    it('declares what the registry needs', () => {
      const spec = detectors[id]
      expect(spec.id).toBe(id)
      expect(spec.config.safeParse(spec.example).error).toBeUndefined()
      expect(cases.some((one) => one.expect.length === 0)).toBe(true)
    })

    it('gives findings that fit their contract', async () => {
      const { told } = await run(scenario())
      expect(told.length).toBeGreaterThan(0)
      for (const { arrived: _, ...one } of told) {
        const whole = {
          ...one,
          finding_id: nameUuid('x'),
          detector_version: '1',
          detected_at: 1,
          freshness: { watermark: 1, completeness: null, late: 0 },
          run_id: null,
          backfill: false,
        }
        expect(finding.safeParse(whole).error).toBeUndefined()
        expect(one.window_start % 60_000).toBe(0)
        expect(one.last_event_time).toBeGreaterThanOrEqual(one.first_event_time)
        for (const technique of one.attack) expect(detectors[id].attack).toContain(technique)
      }
    })

    it('is pure: the same events give the same findings', async () => {
      const events = scenario()
      expect((await run(events)).told).toEqual((await run(events)).told)
    })

    it('numbers the emissions of a finding upwards', async () => {
      const seen = new Map<string, number>()
      for (const { entity, window_start, revision } of (await run(scenario())).told) {
        expect(revision).toBe((seen.get(`${entity} ${window_start}`) ?? 0) + 1)
        seen.set(`${entity} ${window_start}`, revision)
      }
    })

    it.each([1, 2, 3])('gives the same finding ids after a shuffle within the lateness (%i)', async (seed) => {
      const events = scenario()
      const random = seededRandom(seed)
      const shuffled = events
        .map((event) => ({ event, at: event.event_time + random() * 110_000 }))
        .sort((a, b) => a.at - b.at)
        .map(({ event }) => event)
      const ids = idsOf((await run(events)).told)
      expect(ids.length).toBeGreaterThan(0)
      expect(idsOf((await run(shuffled)).told)).toEqual(ids)
    })

    it('gives the same findings when the watermark comes late', async () => {
      const events = scenario()
      expect(idsOf((await run(events, { lag: 3_600_000, every: 1_800_000 })).told)).toEqual(idsOf((await run(events)).told))
    })

    it('goes on after encode and decode as if nothing had been', async () => {
      const events = scenario()
      const { told } = await run(events)
      const middle = events.findIndex((event) => event.event_time >= (told[0]?.first_event_time ?? 0)) + 3
      expect((await run(events, { roundTripAt: middle })).told).toEqual(told)
    })

    it('keeps the state of a key small', async () => {
      const { folds } = await run(scenario())
      const spec = shipped(id).spec
      const sizes = [...folds.runs.values()].flatMap((one) => one.keys.flatMap((keys) => [...keys.values()].map(({ state }) => spec.encode(state).length)))
      expect(Math.max(...sizes)).toBeLessThan(3 * 16_384)
    })
  })
}

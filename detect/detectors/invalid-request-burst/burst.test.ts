import { describe, expect, it } from 'vitest'
import { seededRandom } from '../../../runtime/random.ts'
import type { UsageEvent } from '../../../schemas/usage.ts'
import { CASE_DAY, CASE_MINUTE, CASE_START, failedSample, past, usageSample } from '../../detector-case.ts'
import type { DetectedFinding } from '../../detector.ts'
import { invalidRequestBurstConfig } from './config.ts'
import { invalidRequestBurst } from './index.ts'
import type { BurstState } from './state.ts'

const KEY = 'key:fp_case'
const config = invalidRequestBurstConfig.parse({})
const then = CASE_START + 5 * CASE_DAY + 10 * 60 * CASE_MINUTE
const quiet = past(6, 2 * CASE_MINUTE, (at) => usageSample(at)).filter(({ event_time }) => event_time < then)
const stranger = { client_ip: '203.0.113.9', client_asn: 24_940, client_as_name: 'HETZNER-AS', client_country: 'DE' }

/** The detector alone: one key, event time as far behind as the lateness allows. */
function told(events: readonly UsageEvent[]): DetectedFinding[] {
  const findings: DetectedFinding[] = []
  let state: BurstState | undefined
  const next = { wake: Infinity }
  const apply = (input: { event: UsageEvent } | { tick: number }, now: number) => {
    const step = invalidRequestBurst.step(state, input, KEY, { config, now, late: 0, gaps: [] })
    state = step.state
    next.wake = step.wake_at ?? Infinity
    findings.push(...step.findings)
  }
  const advance = (now: number) => {
    for (let at = next.wake; at <= now; at = next.wake) apply({ tick: at }, at)
  }
  let newest = 0
  for (const event of events) {
    newest = Math.max(newest, event.event_time)
    advance(newest - 120_000)
    apply({ event }, newest - 120_000)
  }
  advance(newest + CASE_DAY)
  return findings
}

describe('an open bucket', () => {
  it('is judged the same in whatever order its events come', () => {
    const tries = Array.from({ length: 14 }, (_, n) => failedSample(then + n * 1000, 'invalid_value', stranger, n))
    const release = Array.from({ length: 70 }, (_, n) => failedSample(then + 20_000 + n * 1000, 'unsupported_parameter', {}, 100 + n))
    const reasons = new Set<string>()
    for (let seed = 0; seed < 12; seed++) {
      const random = seededRandom(seed)
      const shuffled = [...tries, ...release].map((event) => ({ event, at: random() })).sort((a, b) => a.at - b.at)
      reasons.add(told([...quiet, ...(seed === 0 ? [...tries, ...release] : shuffled.map(({ event }) => event))]).at(-1)?.reason ?? 'nothing')
    }
    expect([...reasons]).toEqual(['errors-from-new-network'])
  })

  it('is told again while what was found is used, so that the dollars at risk stay true', () => {
    const search = Array.from({ length: 30 }, (_, n) => failedSample(then + n * 1000, 'model_not_found', { ...stranger, request_model: `model-${n % 9}` }, n))
    const use = Array.from({ length: 300 }, (_, n) => usageSample(then + 31_000 + n * 1000, { ...stranger, cost_usd: '1' }, 100 + n))
    const found = told([...quiet, ...search, ...use])
    expect(found.at(-1)?.spend_usd).toBe('300')
    expect(Number(found.at(-2)?.spend_usd)).toBeGreaterThan(100)
  })
})

describe('sentences', () => {
  it('do not say that nearly all errors are alike when they are not', () => {
    const limits = Array.from({ length: 60 }, (_, n) => failedSample(then + n * 1000, 'rate_limit_exceeded', { outcome: 'rate_limited', status_code: 429 }, n))
    const outage = Array.from({ length: 50 }, (_, n) => failedSample(then + n * 1000, 'overloaded', { outcome: 'server_error', status_code: 503 }, 100 + n))
    const inOrder = [...limits, ...outage].sort((a, b) => a.event_time - b.event_time)
    expect(told([...quiet, ...inOrder]).at(-1)?.summary).toContain('mostly rate_limited rate_limit_exceeded')
    expect(told([...quiet, ...limits]).at(-1)?.summary).toContain('nearly all rate_limited')
  })

  it('say when a success comes in a bucket of its own', () => {
    const search = Array.from({ length: 30 }, (_, n) => failedSample(then + n * 1000, 'model_not_found', { ...stranger, request_model: `model-${n % 9}` }, n))
    const found = told([...quiet, ...search, usageSample(then + 11 * CASE_MINUTE, { ...stranger, request_model: 'o1', cost_usd: '3' }, 99)]).find(
      ({ reason }) => reason === 'recon-then-success',
    )
    expect(found).toMatchObject({ reason: 'recon-then-success', severity: 'critical', spend_usd: '3', first_event_time: then + 11 * CASE_MINUTE })
    expect(found?.summary).toContain('1 call succeeded from HETZNER-AS')
    expect(found?.evidence['errors_from_there_before']).toBe(30)
  })
})

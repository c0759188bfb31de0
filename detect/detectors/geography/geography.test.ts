import { describe, expect, it } from 'vitest'
import type { UsageEvent } from '../../../schemas/usage.ts'
import { CASE_DAY, CASE_MINUTE, CASE_START, past, usageSample } from '../../detector-case.ts'
import type { DetectedFinding } from '../../detector.ts'
import { geographyConfig } from './config.ts'
import { geography } from './index.ts'
import type { GeographyState } from './state.ts'

const KEY = 'key:fp_case'
const then = CASE_START + 8 * CASE_DAY
const vpn = { client_ip: '192.0.2.20', client_asn: 64_500, client_as_name: 'OFFICE-VPN', client_country: 'CH' }
const intruder = { client_ip: '203.0.113.77', client_asn: 60_781, client_as_name: 'LEASEWEB-NL', client_country: 'NL' }

/** The detector alone: one key, event time two minutes behind. */
function told(events: readonly UsageEvent[], settings: unknown): DetectedFinding[] {
  const config = geographyConfig.parse(settings)
  const findings: DetectedFinding[] = []
  let state: GeographyState | undefined
  const next = { wake: Infinity }
  const apply = (input: { event: UsageEvent } | { tick: number }, now: number) => {
    const step = geography.step(state, input, KEY, { config, now, late: 0, gaps: [] })
    state = step.state
    next.wake = step.wake_at ?? Infinity
    findings.push(...step.findings)
  }
  const advance = (now: number) => {
    for (let at = next.wake; at <= now; at = next.wake) apply({ tick: at }, at)
  }
  for (const event of events) {
    advance(event.event_time - 120_000)
    apply({ event }, event.event_time - 120_000)
  }
  advance(then + 30 * CASE_DAY)
  return findings
}

const quiet = past(8, 5 * CASE_MINUTE, (at) => usageSample(at))

describe('the allow-list', () => {
  it('does not speak for a place that is not on it, however busy the allowed one is', () => {
    const visits = [
      ...Array.from({ length: 50 }, (_, n) => usageSample(then + n * 1000, vpn, n)),
      ...Array.from({ length: 5 }, (_, n) => usageSample(then + 60_000 + n * 1000, intruder, n)),
    ]
    const last = told([...quiet, ...visits], { allow: { asns: [64_500] } }).at(-1)
    expect(last?.severity).toBe('high')
    expect(last?.summary).toContain('LEASEWEB-NL')
  })

  it('does not cover an address that comes after four allowed ones of the same network', () => {
    const visits = Array.from({ length: 6 }, (_, n) => usageSample(then + n * 1000, { ...vpn, client_ip: n < 5 ? `192.0.2.${20 + n}` : '198.18.0.9' }, n))
    const last = told([...quiet, ...visits], { allow: { cidrs: ['192.0.2.0/24'] } }).at(-1)
    expect(last?.severity).toBe('high')
    expect(last?.evidence['addresses']).toContain('198.18.0.9')
    expect(told([...quiet, ...visits.slice(0, 5)], { allow: { cidrs: ['192.0.2.0/24'] } }).at(-1)?.severity).toBe('info')
  })
})

describe('an open bucket', () => {
  it('is told again while it grows, so that the dollars at risk stay true', () => {
    const home = Array.from({ length: 12 }, (_, n) => usageSample(then + n * 60_000, {}, 1000 + n))
    const visits = Array.from({ length: 200 }, (_, n) => usageSample(then + 1 + n * 3000, { ...intruder, cost_usd: '1' }, n))
    const found = told([...quiet, ...[...home, ...visits].sort((a, b) => a.event_time - b.event_time)], {})
    expect(found.map(({ revision }) => revision)).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
    expect(Number(found.at(-2)?.spend_usd)).toBeGreaterThan(100)
    expect(found.at(-1)?.spend_usd).toBe('200')
  })
})

describe('a suspect place', () => {
  it('is not learnt from a few calls after it was told', () => {
    const visits = [0, 1, 2, 3].map((n) => usageSample(then + n * 1000, intruder, n))
    const later = [usageSample(then + 60 * CASE_MINUTE, intruder, 10), ...[0, 1, 2, 3].map((n) => usageSample(then + 180 * CASE_MINUTE + n * 1000, intruder, 20 + n))]
    const windows = new Set(told([...quiet, ...visits, ...later], {}).map(({ window_start }) => window_start))
    expect(windows.size).toBe(3)
  })

  it('that was only refused does not make new networks look usual', () => {
    const refused = Array.from({ length: 20 }, (_, n) =>
      usageSample(then + n * 60 * CASE_MINUTE, { ...intruder, client_asn: 65_000 + n, outcome: 'client_error', status_code: 404, cost_usd: null }, n),
    )
    const visits = Array.from({ length: 5 }, (_, n) => usageSample(then + 2 * CASE_DAY + n * 1000, intruder, 100 + n))
    expect(told([...quiet, ...refused, ...visits], {}).length).toBeGreaterThan(0)
  })
})

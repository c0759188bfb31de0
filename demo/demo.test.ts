import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { type Address, parseAddress } from '../ingest/address.ts'
import { openGeo } from '../ingest/enrich.ts'
import { createFormats } from '../ingest/formats/index.ts'
import type { ParsedEvent } from '../ingest/format.ts'
import { attributionConfig } from '../schemas/attribution.ts'
import { demoAttribution } from './attribution.ts'
import { createCompany } from './company.ts'
import { demoFiles } from './config.ts'
import { type Incident, incidentsFrom, INTRUDERS } from './incidents.ts'
import { trafficBetween } from './traffic.ts'
import { liveTraffic, writeHistory } from './writer.ts'

const UNTIL = Date.parse('2026-11-22T16:00:00Z')
const DAY_MS = 86_400_000
const directories: string[] = []
const fresh = (): string => {
  const directory = mkdtempSync(join(tmpdir(), 'tokenwatch-demo-'))
  directories.push(directory)
  return directory
}
const linesOf = (directory: string): Map<string, string[]> => new Map(demoFiles.map((file) => [file, readFileSync(join(directory, file), 'utf8').split('\n').filter(Boolean)]))

afterEach(() => {
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true })
})

/** Time that jumps as it is waited for, until `end`. */
function fakeClock(start: number, end: number, stop: () => void) {
  let now = start
  return {
    now: () => now,
    sleep: (ms: number) => {
      now += ms
      if (now >= end) stop()
      return Promise.resolve()
    },
  }
}

async function live(directory: string, start: number, minutes: number, options: { seed?: number; speed?: number; incidents: boolean }): Promise<void> {
  const stop = new AbortController()
  const clock = fakeClock(start, start + minutes * 60_000, () => stop.abort())
  await liveTraffic({ seed: 1, speed: 1, ...options, clock, directory }, stop.signal)
}

function parseAll(lines: Map<string, string[]>): { events: ParsedEvent[]; others: Map<string, number> } {
  const formats = createFormats(['openai-http', 'cloudtrail'])
  const events: ParsedEvent[] = []
  const others = new Map<string, number>()
  for (const [stream, texts] of lines) {
    texts.forEach((body, index) => {
      const record = { id: String(index), at: 0, ingested_at: null, body, origin: { source: 'file', stream } }
      const verdicts = formats.map((format) => format.parse(record, { json: JSON.parse(body), now: UNTIL, occurrence: () => 0 }))
      const accepted = verdicts.find((verdict) => verdict.kind === 'accept')
      if (accepted?.kind === 'accept') events.push(...accepted.events)
      else for (const verdict of verdicts) if (verdict.kind !== 'accept') others.set(`${verdict.kind} ${verdict.why}`, (others.get(`${verdict.kind} ${verdict.why}`) ?? 0) + 1)
    })
  }
  return { events, others }
}
const usageOf = (events: readonly ParsedEvent[]) => events.flatMap((parsed) => (parsed.topic === 'usage.v1' ? [parsed.event] : []))

describe('the made-up company', () => {
  it('is the same for the same seed, and another for another', () => {
    expect(createCompany(7)).toEqual(createCompany(7))
    expect(createCompany(7).services[0]?.key).not.toBe(createCompany(8).services[0]?.key)
  })

  it('has a key of its own for each of its 26 services in 8 teams', () => {
    const { services, teams } = createCompany(1)
    expect(services).toHaveLength(26)
    expect(new Set(services.map((service) => service.key)).size).toBe(26)
    expect(new Set(services.map((service) => service.team))).toEqual(new Set(teams.map((team) => team.id)))
  })

  it('leaves one key unclaimed, and its entries fit the config', () => {
    const entries = attributionConfig.parse(demoAttribution((key) => `fp_${key.length}_${key.slice(-8)}`, 3))
    expect(entries).toHaveLength(25)
    expect(JSON.stringify(entries)).not.toContain('legacy-crawler')
  })
})

describe('its history', () => {
  it('is 100,000 to 150,000 lines in three weeks, written in seconds', async () => {
    const directory = fresh()
    const progress: number[] = []
    const { lines } = await writeHistory({ seed: 1, until: UNTIL, directory, onProgress: ({ done }) => progress.push(done) })
    expect(lines).toBeGreaterThan(100_000)
    expect(lines).toBeLessThan(150_000)
    expect(progress.at(-1)).toBe(1)
    expect([...linesOf(directory).values()].reduce((sum, texts) => sum + texts.length, 0)).toBe(lines)
  }, 60_000)

  it('is the same for the same seed, line by line', async () => {
    const [one, two, other] = [fresh(), fresh(), fresh()]
    for (const [directory, seed] of [
      [one, 1],
      [two, 1],
      [other, 2],
    ] as const)
      await writeHistory({ seed, days: 2, until: UNTIL, directory })
    expect(linesOf(one)).toEqual(linesOf(two))
    expect(linesOf(one)).not.toEqual(linesOf(other))
  })

  it('goes on where it was, without a gap or a repeat', async () => {
    const [whole, parts] = [fresh(), fresh()]
    await writeHistory({ seed: 1, days: 2, until: UNTIL, directory: whole })
    await writeHistory({ seed: 1, days: 1, until: UNTIL - DAY_MS, directory: parts })
    await writeHistory({ seed: 1, days: 2, until: UNTIL, directory: parts })
    expect(linesOf(parts)).toEqual(linesOf(whole))
    await expect(writeHistory({ seed: 2, days: 2, until: UNTIL, directory: parts })).rejects.toThrow(/--seed 1/)
  })

  it('is understood by the formats, line for line, each line its own event', async () => {
    const directory = fresh()
    const { lines } = await writeHistory({ seed: 1, days: 2, until: UNTIL, directory })
    const { events, others } = parseAll(linesOf(directory))
    expect([...others]).toEqual([])
    expect(events).toHaveLength(lines)
    expect(new Set(events.map(({ event }) => event.event_id)).size).toBe(lines)
    const usage = usageOf(events)
    const keys = new Set(createCompany(1).services.map((service) => service.key))
    expect(usage.every((event) => event.api_key !== undefined && keys.has(event.api_key) && event.client_ip !== null && event.service !== undefined)).toBe(true)
    const share = (of: (event: (typeof usage)[number]) => boolean) => usage.filter(of).length / usage.length
    expect(share((event) => event.outcome !== 'success')).toBeGreaterThan(0.008)
    expect(share((event) => event.outcome !== 'success')).toBeLessThan(0.025)
    expect(share((event) => event.usage_source === 'absent' && event.outcome === 'success')).toBeGreaterThan(0)
    expect(share((event) => event.stream === true)).toBeGreaterThan(0.05)
  })

  it('has days and nights', () => {
    const company = createCompany(1)
    const count = (from: string) => [...trafficBetween(company, Date.parse(from), Date.parse(from) + 4 * 3_600_000)].length
    expect(count('2026-11-18T11:00:00Z')).toBeGreaterThan(1.8 * count('2026-11-18T00:00:00Z'))
  })
})

describe('live traffic', () => {
  it('without incidents is what the history would have been', async () => {
    const [history, lived] = [fresh(), fresh()]
    for (const directory of [history, lived]) await writeHistory({ seed: 1, days: 1, until: UNTIL, directory })
    await live(lived, UNTIL, 30, { incidents: false })
    await writeHistory({ seed: 1, days: 1, until: UNTIL + 30 * 60_000 + 1, directory: history })
    const sorted = (directory: string) => [...linesOf(directory).values()].map((texts) => texts.toSorted())
    expect(sorted(lived)).toEqual(sorted(history))
  })

  it('shows all three kinds of incident in the first minute', async () => {
    const directory = fresh()
    await live(directory, UNTIL, 1, { incidents: true })
    const usage = usageOf(parseAll(linesOf(directory)).events)
    const expensive = usage.filter((event) => event.model?.startsWith('gpt-5.5-pro') === true && (event.input_tokens ?? 0) > 5000)
    expect(expensive.length).toBeGreaterThan(50)
    const refused = usage.filter((event) => event.client_ip === '89.33.8.41' && event.outcome !== 'success')
    expect(refused.length).toBeGreaterThanOrEqual(60)
    expect(refused.length).toBeLessThanOrEqual(100)
    expect(new Set(refused.map((event) => event.error_code)).size).toBeGreaterThanOrEqual(4)
    expect(new Set(refused.map((event) => event.request_model)).size).toBeGreaterThanOrEqual(6)
    expect(usage.some((event) => event.client_ip === '89.33.8.41' && event.outcome === 'success')).toBe(true)
    expect(usage.filter((event) => event.client_ip === '95.213.200.77').length).toBeGreaterThan(8)
    expect(usage.every((event) => Math.abs(event.event_time - UNTIL) <= 61_000)).toBe(true)
  })

  it('takes other keys at the next start', () => {
    const company = createCompany(1)
    const keys = (starts: number) => {
      const all = incidentsFrom(company, UNTIL, 1, starts)
      return Array.from({ length: 3 }, () => (all.next().value as Incident).service.id)
    }
    expect(keys(1)).not.toEqual(expect.arrayContaining([keys(0)[0]]))
    expect(new Set([...keys(0), ...keys(1)]).size).toBe(6)
  })

  it('repeats them on other keys, and speed divides the gaps', () => {
    const company = createCompany(1)
    const first = (speed: number): Incident[] => {
      const all = incidentsFrom(company, UNTIL, speed)
      return Array.from({ length: 9 }, () => all.next().value as Incident)
    }
    expect(new Set(first(1).map((incident) => incident.kind)).size).toBe(3)
    expect(
      new Set(
        first(1)
          .filter((incident) => incident.kind === 'token-spike')
          .map((incident) => incident.service.id),
      ).size,
    ).toBe(3)
    expect((first(10)[3]?.from ?? 0) - UNTIL).toBeLessThan(30_000)
    expect((first(1)[3]?.from ?? 0) - UNTIL).toBeGreaterThan(200_000)
    expect(first(1)).toSatisfy((list: { from: number }[]) => list.every((incident, n) => n === 0 || incident.from >= (list[n - 1]?.from ?? 0)))
  })
})

it('comes from addresses that the offline data knows, and intruders from elsewhere', () => {
  const geo = openGeo()
  const place = (text: string) => geo.lookup(parseAddress(text) as Address)
  const company = createCompany(1)
  for (const service of company.services) {
    const places = service.addresses.map((address) => place(address))
    expect(
      places.every(({ country, asn }) => ['IE', 'DE', 'US', 'NL', 'GB'].includes(country ?? '') && asn !== null),
      service.id,
    ).toBe(true)
    expect(new Set(places.map(({ country, asn }) => `${country} ${asn}`)).size, service.id).toBe(1)
  }
  for (const address of INTRUDERS) {
    const { country, asn } = place(address)
    expect(['RO', 'RU', 'SG', 'HK', 'HR']).toContain(country)
    expect([9009, 49505, 45102, 133752, 211619, 14061]).toContain(asn)
  }
})

it('made-up credentials look like credentials and say that they are made up', () => {
  for (const { key, provider } of createCompany(1).services) expect(key).toMatch(provider === 'azure' ? /^[0-9a-f]{32}$/ : /^sk-demo-[A-Za-z0-9]{40}$/)
})

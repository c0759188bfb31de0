/** The source of one group by itself: where it is in its windows outlives a throw, and no clock that is set back makes it wait. */
import { describe, expect, it } from 'vitest'
import { silentLogger } from '../../../runtime/log.ts'
import { seededRandom } from '../../../runtime/random.ts'
import { CloudError, CloudWatchModel, type Faults } from '../../../test/simulate/cloudwatch/model.ts'
import { ManualClock } from '../../../test/support/ingest.ts'
import type { Page } from '../../source.ts'
import { createGroupSource } from './group.ts'
import { cloudwatchLogs, settingsOf } from './index.ts'
import type { ScanState } from './scan.ts'
import { RequestShare } from './throttle.ts'

const NOW = Date.UTC(2026, 2, 2, 12)
const MINUTE = 60_000
const HOUR = 60 * MINUTE
const never = new AbortController().signal

/** `takes`: ms until an answer. */
function group(config: Record<string, unknown> = {}, faults: Partial<Faults> = {}, takes = 0) {
  const clock = new ManualClock(NOW)
  const model = new CloudWatchModel({ clock, random: seededRandom(1), faults })
  model.createGroup('/app/calls')
  const requests: string[] = []
  const api = {
    filterLogEvents: (...[request, signal]: Parameters<typeof model.filterLogEvents>) => {
      requests.push(`${request.from}-${request.to} ${request.token ?? ''}`)
      clock.advance(takes)
      return model.filterLogEvents(request, signal)
    },
    describeLogGroups: model.describeLogGroups.bind(model),
    incomingLogEvents: model.incomingLogEvents.bind(model),
  }
  const settings = settingsOf(cloudwatchLogs.config.parse({ regions: ['eu-west-1'], log_groups: ['/app/calls'], reconcile: false, ...config }))
  const share = new RequestShare({ clock, rate: 3 })
  const source = createGroupSource({ stream: 's', group: '/app/calls', region: 'eu-west-1', identity: 'nobody', api, share, clock, log: silentLogger, settings })
  const read = (after?: unknown) => source.read(after as ScanState | undefined, never)[Symbol.asyncIterator]()
  return { clock, model, requests, read }
}

const put = (model: CloudWatchModel, count: number, from: number, ms: number, late = 0): void =>
  void model.put(
    '/app/calls',
    Array.from({ length: count }, (_, index) => ({ timestamp: from + index * ms, ingested_at: from + index * ms + late, message: 'x' })),
  )

/** Reads as the collector does, until a page fulfils the condition. */
async function until(pages: AsyncIterator<Page<ScanState>>, wanted: (page: Page<ScanState>) => boolean): Promise<Page<ScanState>> {
  for (;;) {
    const { value, done } = await pages.next()
    if (done === true) throw new Error('the source has ended')
    if (wanted(value)) return value
  }
}

describe('where a group is in its windows', () => {
  it('a hot window goes on at the page that failed, within the same bounds', async () => {
    const { clock, model, requests, read } = group({}, { page_events: 10 })
    put(model, 100, NOW - 50 * MINUTE, 1_000)
    let calls = 0
    model.intercept = () => {
      if (++calls === 4) throw new CloudError('ThrottlingException', 'Rate exceeded')
    }
    const first = read()
    const page = await until(first, ({ records }) => records.length > 0)
    await expect(until(first, () => false)).rejects.toThrow('too many requests')
    clock.advance(5 * MINUTE)
    const events: string[] = []
    await until(read(page.next), ({ records, next }) => (events.push(...records.map(({ id }) => id)), next.hot_scanned_to > page.next.hot_scanned_to))
    // Three pages before the throw; each page was asked for once, but for the one that failed.
    expect(new Set(events).size).toBe(70)
    expect(requests.length).toBe(11)
    expect(requests[4]).toBe(requests[3])
    expect(new Set(requests.map((request) => request.split(' ')[0])).size).toBe(1)
  })

  it('a page that was not taken is given again, and counts once', async () => {
    const { model, requests, read } = group({}, { page_events: 10 })
    put(model, 100, NOW - 50 * MINUTE, 1_000)
    const first = read()
    const taken = await until(first, ({ records }) => records.length > 0)
    const refused = await until(first, ({ records }) => records.length > 0)
    // The bus refused it: the collector leaves the loop.
    await first.return?.()
    const again = await until(read(taken.next), ({ records }) => records.length > 0)
    expect(again.records).toEqual(refused.records)
    expect(requests[2]).toBe(requests[1])
  })

  it('begins the window again where its token was refused', async () => {
    const { clock, model, requests, read } = group({}, { page_events: 10, token_lives_ms: MINUTE })
    put(model, 100, NOW - 50 * MINUTE, 1_000)
    const first = read()
    const page = await until(first, ({ records }) => records.length > 0)
    clock.advance(2 * MINUTE)
    await expect(until(first, () => false)).rejects.toThrow('page token')
    const rest = await until(read(page.next), ({ records }) => records.length > 0)
    expect(requests[2]).not.toContain(' t')
    // What was published of it before is known.
    expect(rest.records.map(({ id }) => id)).toEqual(
      model
        .events('/app/calls')
        .slice(10, 20)
        .map(({ id }) => id),
    )
  })
})

describe('a group that writes nearly more than can be read', () => {
  it('has its rescans, too: a quarter of the pages while a hot scan is due as soon as the last one is done', async () => {
    const { clock, model, requests, read } = group({}, { page_events: 40 }, 2_000)
    put(model, 25_000, NOW - HOUR, 250, 10_000)
    const pages = read()
    await until(pages, ({ next }) => next.hot_scanned_to > NOW + 20 * MINUTE)
    const before = requests.length
    while (clock.now() < NOW + 42 * MINUTE) await until(pages, () => true)
    const spans = requests.slice(before).map((request) => request.split(' ')[0]?.split('-').map(Number) ?? [])
    // What goes back further than five minutes is a rescan.
    const rescans = spans.filter(([from = 0, to = 0]) => to - from > 5 * MINUTE)
    expect(spans.length).toBeGreaterThan(500)
    expect(rescans.length / spans.length).toBeGreaterThan(0.2)
    expect(rescans.length / spans.length).toBeLessThan(0.3)
  })
})

it('a pause is not taken for late events: the hot scan looks back no further after it', async () => {
  const { clock, model, requests, read } = group({ warm: { every: '2h' } })
  put(model, 3_000, NOW, 1_000, 10_000)
  const pages = read()
  await until(pages, ({ next }) => next.hot_scanned_to > NOW + 10 * MINUTE)
  clock.advance(15 * MINUTE)
  await until(pages, ({ next }) => next.hot_scanned_to > NOW + 30 * MINUTE)
  const [from = 0, to = 0] = requests.at(-1)?.split(' ')[0]?.split('-').map(Number) ?? []
  expect(to - from).toBeLessThan(4 * MINUTE)
})

describe('a clock that is set back', () => {
  it('does not hold up the hot scan for longer than its interval', async () => {
    const { clock, requests, read } = group()
    const pages = read()
    for (let n = 0; n < 6; n++) await pages.next()
    clock.advance(-HOUR)
    for (let n = 0; n < 3; n++) {
      const [at, sent] = [clock.now(), requests.length]
      await pages.next()
      expect(requests.length).toBeGreaterThan(sent)
      expect(clock.now() - at).toBeLessThanOrEqual(16_000)
    }
  })

  it('not even when it is set back between two steps', async () => {
    const { clock, model, requests, read } = group({ reconcile: true })
    const pages = read()
    await pages.next()
    const back: number[] = []
    model.intercept = (call) => {
      if (call !== 'GetMetricData' || back.length > 0) return
      clock.advance(-HOUR)
      back.push(clock.now())
    }
    while (back.length === 0) await pages.next()
    const sent = requests.length
    while (requests.length === sent) await pages.next()
    expect(clock.now() - (back[0] ?? 0)).toBeLessThanOrEqual(17_000)
  })

  it('nor the rescans, where it was days ahead', async () => {
    const { clock, model, read } = group()
    clock.advance(72 * HOUR)
    const first = read()
    const page = await until(first, ({ next }) => next.warm_scanned_to > NOW + 71 * HOUR)
    await first.return?.()
    clock.advance(NOW - clock.now())
    model.put('/app/calls', [
      { timestamp: NOW - 20 * MINUTE, ingested_at: NOW - 20 * MINUTE, message: 'between the start and the mark' },
      { timestamp: NOW + 5 * MINUTE, ingested_at: NOW + 15 * MINUTE, visible_at: NOW + 15 * MINUTE, message: 'late' },
    ])
    const pages = read(page.next)
    const found: string[] = []
    while (clock.now() < NOW + 30 * MINUTE) found.push(...(await until(pages, () => true)).records.map(({ body }) => body))
    expect(found).toEqual(['between the start and the mark', 'late'])
  })
})

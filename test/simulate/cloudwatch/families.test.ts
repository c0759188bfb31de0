/** How other CloudWatch pollers lost events, one test per family; each would fail for a poller that does as they did. */
import { describe, expect, it } from 'vitest'
import { PermanentError, TransientError } from '../../../runtime/errors.ts'
import { CloudError } from './model.ts'
import { Collected, GROUP, HOUR, MINUTE, NOON, SECOND } from './collect.ts'

const every = (n: number, ms: number, from = NOON): { time: number }[] => Array.from({ length: n }, (_, index) => ({ time: from + index * ms }))
const marks = (world: Collected): unknown => {
  const [, value] = [...world.state.entries].find(([key]) => key.endsWith(GROUP)) ?? []
  return value === undefined ? undefined : JSON.parse(Buffer.from(value).toString('utf8'))
}

describe('what others lost', () => {
  it('OpenTelemetry Collector: the window ends now, and what is visible a little later is behind the checkpoint', async () => {
    const world = new Collected()
    // Each event is visible a little after a poll has passed its time: 0 to 59 s late.
    world.put(every(300, 2 * SECOND).map(({ time }, index) => ({ time, late: (index % 60) * SECOND })))
    await world.run(15 * MINUTE)
    expect(world.published).toMatchObject({ distinct: 300, total: 300 })
  })

  it('OpenTelemetry Collector: empty pages with a token move the checkpoint', async () => {
    const world = new Collected({ faults: { empty_page: 0.7, short_page: 0.5, trailing_token: 1 } })
    world.put(every(200, SECOND))
    await world.run(20 * MINUTE)
    expect(world.model.stats.pages).toBeGreaterThan(300)
    expect(world.published.distinct).toBe(200)
  })

  it('Grafana Alloy: everything becomes visible later than the poll interval, and nothing is ever collected', async () => {
    const world = new Collected()
    world.put(every(700, 5 * SECOND).map(({ time }) => ({ time, late: 4 * MINUTE })))
    await world.run(80 * MINUTE)
    expect(world.published).toMatchObject({ distinct: 700, total: 700 })
    // It has learnt: the hot scan goes back far enough, events need not wait for the warm one.
    const waits = world.bus.of('usage.v1').map(({ event_time, observed_time }) => observed_time - event_time - 4 * MINUTE)
    expect(Math.max(...waits.slice(0, 150))).toBeGreaterThan(MINUTE)
    expect(Math.max(...waits.slice(-400))).toBeLessThan(20 * SECOND)
  })

  it('Filebeat: a group with many pages, and a broken one, keep the others from being read', async () => {
    const groups = ['/busy', '/gone', '/small-1', '/small-2', '/small-3']
    const world = new Collected({ groups, faults: { page_events: 3 } })
    world.model.deleteGroup('/gone')
    world.put(every(600, SECOND), '/busy')
    for (const group of groups.slice(2)) world.put(every(20, 20 * SECOND), group)
    await world.run(3 * MINUTE)
    // The small groups are up to date while the busy one still turns pages.
    const small = world.bus.of('usage.v1').filter(({ source_stream }) => source_stream.includes('small'))
    expect(small.length).toBeGreaterThanOrEqual(3 * 7)
    await world.run(30 * MINUTE)
    expect(world.published.distinct).toBe(660)
    const progress = world.bus.of('progress.v1').filter(({ source_stream }) => source_stream.endsWith('/gone'))
    expect(progress.at(-1)).toMatchObject({ blind: true })
    expect(progress.at(-1)?.reason).toContain('no log group /gone')
  })

  it('Filebeat and Falco: an event of the last millisecond read comes later than its twin (timestamp + 1)', async () => {
    const world = new Collected()
    const time = NOON + 14 * SECOND
    world.put([{ time }, { time }, { time, late: 20 * SECOND }, { time, late: 50 * SECOND }])
    await world.run(3 * MINUTE)
    expect(world.published).toMatchObject({ distinct: 4, total: 4 })
  })

  it('Logstash: one mark for all streams of a group, and a stream that is hours behind is skipped for ever', async () => {
    const world = new Collected({ config: { start: '10h' } })
    world.put(every(50, 10 * SECOND).map(({ time }) => ({ time, stream: 'ahead' })))
    // A host that was cut off sends its night when it is back: up to nine hours late, in one go.
    world.put(every(100, 5 * MINUTE, NOON - 9 * HOUR).map(({ time }) => ({ time, late: NOON + 30 * MINUTE - time, stream: 'behind' })))
    await world.run(8 * HOUR)
    expect(world.published.distinct).toBe(150)
  })

  it('Logstash: lateness of days, up to what PutLogEvents takes', async () => {
    const world = new Collected({ config: { start: '13d' } })
    world.put([{ time: NOON - 12 * 24 * HOUR, late: 12 * 24 * HOUR + 2 * HOUR }, { time: NOON }])
    await world.run(27 * HOUR)
    expect(world.published.distinct).toBe(2)
  })

  it('Fluentd: dropped while CloudWatch says "Rate exceeded"', async () => {
    const world = new Collected({ faults: { throttle: 0.3, storms: [{ from: NOON + MINUTE, to: NOON + 20 * MINUTE, name: 'ThrottlingException' }] } })
    world.put(every(300, 5 * SECOND))
    await world.run(15 * MINUTE)
    const during = marks(world)
    expect(during).toMatchObject({ hot_scanned_to: expect.toSatisfy((mark: number) => mark < NOON + 2 * MINUTE) })
    await world.run(45 * MINUTE)
    expect(world.published.distinct).toBe(300)
    expect(world.model.stats.throttled).toBeGreaterThan(10)
    expect(world.model.stats.busiest_ten_seconds).toBeLessThanOrEqual(31)
  })

  it("Fluentd: a writer goes on in yesterday's stream for hours", async () => {
    const world = new Collected()
    world.put(every(100, MINUTE).map(({ time }, index) => ({ time, stream: index % 2 === 0 ? '2026/03/01/[1]' : '2026/03/02/[1]' })))
    await world.run(2 * HOUR)
    expect(world.published).toMatchObject({ distinct: 100, total: 100 })
  })

  it('Datadog forwarder: a delivery that failed is swallowed, and the checkpoint moves', async () => {
    const world = new Collected()
    world.put(every(100, SECOND))
    // The bus is away: nothing may be said to be read.
    const { bus } = world.bus
    const publish = bus.publish.bind(bus)
    let away = true
    Object.defineProperty(world.bus, 'bus', {
      value: { publish: (topic: never, values: never) => (away && topic === 'usage.v1' ? Promise.reject(new TransientError('the bus is away')) : publish(topic, values)) },
    })
    await world.run(10 * MINUTE)
    expect(marks(world)).toMatchObject({ hot_scanned_to: NOON - SECOND })
    away = false
    await world.run(10 * MINUTE)
    expect(world.published.distinct).toBe(100)
  })
})

describe('and what else a poller meets', () => {
  it('a token that expires in the middle: the window is scanned again', async () => {
    const world = new Collected({ faults: { page_events: 5, token_lives_ms: 4 * SECOND } })
    world.put(every(100, SECOND))
    let slow = 0
    const api = {
      ...bound(world),
      filterLogEvents: async (...given: Parameters<typeof world.model.filterLogEvents>) => {
        if (given[0].token !== undefined && slow++ % 7 === 3 && slow < 60) await world.clock.sleep(5 * SECOND)
        return world.model.filterLogEvents(...given)
      },
    }
    await world.run(30 * MINUTE, api)
    expect(world.published.distinct).toBe(100)
  })

  it('a scan that fails in its middle stores nothing: the whole window is scanned again', async () => {
    const world = new Collected()
    world.put(every(1_000, 3 * SECOND, NOON - 55 * MINUTE))
    let calls = 0
    world.model.intercept = () => {
      if (++calls === 3) throw new CloudError('InternalFailure', 'no', 500)
    }
    // Long before a warm scan could mend it.
    await world.run(2 * MINUTE)
    expect(world.published).toMatchObject({ distinct: 1_000, total: 1_000 })
  })

  it.each([
    ['throttled', { throttle: 0.05 }],
    ['throttled', { throttle: 0.2 }],
    ['failing with 5xx or cut off', { server_error: 0.1, reset: 0.1 }],
  ] as const)('a rescan of hundreds of pages, %s for good: each page is read once more at most, and what is late is found', async (_, faults) => {
    const world = new Collected({ faults: { ...faults, page_events: 5 }, config: { warm: { every: '30m' } } })
    world.put(every(1_500, 2 * SECOND))
    // Twenty minutes late: behind the hot scan, which has not learnt to look back so far.
    world.put([{ time: NOON + 20 * MINUTE, late: 20 * MINUTE }])
    const tokens = new Map<string, number>()
    let failed = 0
    const api = {
      ...bound(world),
      filterLogEvents: async (...[request, signal]: Parameters<typeof world.model.filterLogEvents>) => {
        try {
          const page = await world.model.filterLogEvents(request, signal)
          if (request.token !== undefined) tokens.set(request.token, (tokens.get(request.token) ?? 0) + 1)
          return page
        } catch (error) {
          failed++
          throw error
        }
      },
    }
    await world.run(3 * HOUR, api)
    expect(failed).toBeGreaterThan(20)
    expect(world.published).toMatchObject({ distinct: 1_501, total: 1_501 })
    expect(tokens.size).toBeGreaterThan(600)
    // No page was read twice by a scan: it goes on where it was.
    expect(Math.max(...tokens.values())).toBe(1)
  })

  it('an outage is caught up while requests are throttled: the hour that fails goes on where it was', async () => {
    const world = new Collected({ faults: { page_events: 10 } })
    world.put(every(4 * 600, 6 * SECOND))
    await world.run(MINUTE)
    world.clock.jump(4 * HOUR)
    world.model.faults.throttle = 0.2
    world.model.stats.calls.FilterLogEvents = 0
    await world.run(50 * MINUTE)
    expect(world.published.distinct).toBe(2_400)
    expect(world.published.total).toBeLessThan(2_400 + 20) // the overlap of the new process
    // 240 pages of new events, a quarter more for those that were throttled, and as much for the rescan behind it.
    expect(world.model.stats.calls.FilterLogEvents).toBeLessThan(800)
  })

  it('a token that expires during an outage of the API in the middle of a rescan: the slice begins again, nothing is lost or published again', async () => {
    const world = new Collected({ faults: { page_events: 20, token_lives_ms: MINUTE } })
    world.put(every(1_200, 2 * SECOND))
    world.put([{ time: NOON + 35 * MINUTE, late: 15 * MINUTE }])
    let outages = 0
    world.model.intercept = () => {
      const minute = Math.floor((world.clock.now() - NOON) / MINUTE)
      if (minute % 10 === 1) return
      if (minute % 10 < 4 && minute > 30) throw (outages++, new CloudError('ServiceUnavailableException', 'no', 503))
    }
    await world.run(4 * HOUR)
    expect(outages).toBeGreaterThan(20)
    expect(world.published).toMatchObject({ distinct: 1_201, total: 1_201 })
  })

  it('a page that the bus refused for good is read again, and a rescan still knows what it has seen', async () => {
    const world = new Collected({ faults: { page_events: 50 }, config: { start: '6h' } })
    world.put(every(600, 30 * SECOND, NOON - 5.5 * HOUR))
    world.put([{ time: NOON - 5 * HOUR, late: 5 * HOUR + 20 * MINUTE }])
    const { bus } = world.bus
    const publish = bus.publish.bind(bus)
    let refused = 0
    const refuses = (): boolean => Math.floor(world.clock.now() / (20 * SECOND)) % 2 === 0
    Object.defineProperty(world.bus, 'bus', {
      value: {
        publish: (topic: string, values: never) =>
          topic !== 'progress.v1' && refuses() ? (refused++, Promise.reject(new PermanentError('the bus takes nothing'))) : publish(topic as never, values),
      },
    })
    await world.run(9 * HOUR)
    expect(refused).toBeGreaterThan(5)
    expect(world.published).toMatchObject({ distinct: 601, total: 601 })
  })

  it('a revoked role is blind with the action named, and heals by itself', async () => {
    const world = new Collected({ config: { accounts: [{ role_arn: 'arn:aws:iam::123456789012:role/tokenwatch' }] } })
    world.put(every(100, 10 * SECOND))
    world.model.intercept = (call) => {
      const now = world.clock.now()
      if (now > NOON + 2 * MINUTE && now < NOON + 10 * MINUTE) throw new CloudError('AccessDeniedException', `User: x is not authorized to perform: logs:${call} on resource: y`)
    }
    await world.run(30 * MINUTE)
    expect(world.published.distinct).toBe(100)
    const blind = world.bus.of('progress.v1').filter((progress) => progress.blind)
    expect(blind.length).toBe(1)
    expect(blind[0]?.reason).toMatch(/role arn:aws:iam::123456789012:role\/tokenwatch may not call logs:FilterLogEvents on \/app\/calls.*allow logs:FilterLogEvents/)
    expect(world.bus.of('progress.v1').at(-1)).toMatchObject({ blind: false })
  })

  it('log groups behind a prefix, also one that is made later', async () => {
    const world = new Collected({ groups: ['/aws/lambda/a'], config: { log_groups: [], log_group_prefixes: ['/aws/lambda/'] } })
    world.put(every(30, SECOND), '/aws/lambda/a')
    await world.run(5 * MINUTE)
    expect(world.published.distinct).toBe(30)
    world.model.createGroup('/aws/lambda/b')
    world.put(every(30, SECOND, NOON + 5 * MINUTE), '/aws/lambda/b')
    await world.run(8 * MINUTE)
    expect(world.published.distinct).toBe(60)
  })

  it('a collector that was down for a day reads on where it was, and publishes nothing twice but its last two hours', async () => {
    const world = new Collected()
    world.put(every(2_000, MINUTE))
    await world.run(3 * HOUR)
    world.clock.jump(22 * HOUR)
    await world.run(10 * HOUR)
    expect(world.published.distinct).toBe(2_000)
    expect(world.published.total).toBeLessThan(2_000 + 250)
  })
})

const bound = ({ model }: Collected) => ({
  describeLogGroups: model.describeLogGroups.bind(model),
  incomingLogEvents: model.incomingLogEvents.bind(model),
})

import { describe, expect, it } from 'vitest'
import { PermanentError } from '../../../runtime/errors.ts'
import { silentLogger } from '../../../runtime/log.ts'
import { type Random, seededRandom } from '../../../runtime/random.ts'
import { inProcess } from '../../../test/simulate/azure/in-process.ts'
import { type Fault, LogAnalytics, type ModelLimits, type ModelRow } from '../../../test/simulate/azure/model.ts'
import { ManualClock } from '../../../test/support/ingest.ts'
import type { Page, Source } from '../../source.ts'
import { config } from './config.ts'
import { azureSources } from './index.ts'

const START = Date.UTC(2026, 2, 2, 12)
const [SECOND, MINUTE, HOUR, DAY] = [1000, 60_000, 3_600_000, 86_400_000]
const WORKSPACE = '11111111-2222-4333-8444-555555555555'
const TABLE = 'AZKVAuditLogs'

describe('a table as a stream', () => {
  it('gives rows once, with their times, and says how far it is', async () => {
    const world = new World()
    world.put(rows(300, START - 2 * HOUR, HOUR))
    const { pages, ids } = await world.run(20 * MINUTE)
    expect(ids.sort()).toEqual(world.ids())
    expect(pages.flatMap(({ records }) => records)[0]).toMatchObject({ origin: { source: 'azure-monitor', stream: `prod/${TABLE}` } })
    const last = pages.at(-1)
    // What is said to be complete: the minute that is settled, less the delay of the cloud.
    expect(last?.scanned_to).toBeGreaterThan(START)
    expect(last?.scanned_to).toBeLessThanOrEqual(world.clock.now() - 15 * MINUTE)
  })

  it('finds rows that become visible late, in any order, behind the overlap and after days', async () => {
    const world = new World()
    const random = seededRandom(7)
    world.put(rows(2000, START, 2 * HOUR, (n, at) => ({ ingested_at: at, visible_at: at + lateness(random) + (n % 500 === 0 ? 40 * HOUR : 0) })))
    const { ids, again } = await world.run(48 * HOUR)
    expect(ids.sort()).toEqual(world.ids())
    expect(again).toBe(0)
  })

  it('tells the completeness after a re-count', async () => {
    const world = new World()
    world.put(rows(100, START - HOUR, 30 * MINUTE))
    const { pages } = await world.run(2 * HOUR)
    expect(pages.at(-1)?.completeness).toBe(1)
  })

  it('says of an empty table that nothing was counted, not that all of it is held', async () => {
    const { pages } = await new World().run(2 * HOUR)
    expect(pages.at(-1)?.completeness).toBeNull()
  })

  it('tells what is missing as long as it cannot be read', async () => {
    const world = new World()
    world.put(rows(90, START - HOUR, 30 * MINUTE))
    world.put(rows(10, START - HOUR, MINUTE, (_n, at) => ({ ingested_at: at, visible_at: START + 30 * MINUTE })).map((row) => ({ ...row, item_id: `late-${row.item_id}` })))
    world.model.fault = ({ query }) =>
      query.includes('tw_row =') && world.clock.now() > START + 30 * MINUTE && world.clock.now() < START + 3 * HOUR ? { kind: 'status', status: 503 } : undefined
    const { pages, ids } = await world.run(6 * HOUR)
    expect(ids.sort()).toEqual(world.ids())
    const told = pages.flatMap(({ completeness }) => (completeness === undefined ? [] : [completeness]))
    expect([told.at(0), Math.min(...told.map((one) => one ?? 0)), told.at(-1)]).toEqual([1, 0.9, 1])
  })

  it('finds rows that become visible up to 14 days after their ingestion, by a count a day, and in bounded space', async () => {
    const world = new World()
    const lag = (n: number): number => (n % 20 === 0 ? (2 + (12 * n) / 600) * DAY : 0)
    world.put(rows(600, START - 2 * HOUR, 8 * HOUR, (n, at) => ({ ingested_at: at, visible_at: at + lag(n) })))
    const { ids, pages, again } = await world.run(15 * DAY + 2 * HOUR)
    expect([ids.sort(), again]).toEqual([world.ids(), 0])
    expect(Math.max(...pages.map(({ next }) => JSON.stringify(next).length))).toBeLessThan(4000)
    const hourly = world.model.requests.filter(({ query }) => query.includes(`${HOUR}ms`))
    expect(hourly.length).toBeLessThanOrEqual((15 * 14) / 2 + 15)
  })

  it('counts an hour once more before it forgets it, however long nobody was here', async () => {
    const world = new World()
    world.put(rows(60, START - HOUR, HOUR, (n, at) => ({ ingested_at: at, visible_at: at + (n % 10 === 0 ? 14.9 * DAY : 0) })))
    const first = await world.run(14 * DAY)
    expect(first.ids.length).toBe(54)
    world.clock.advance(3 * DAY)
    const rest = await world.run(30 * MINUTE, first.pages.at(-1)?.next)
    expect(new Set([...first.ids, ...rest.ids]).size).toBe(60)
  })

  it('reads nothing again because an older version had forgotten it', async () => {
    const world = new World()
    world.put(rows(900, START - 20 * HOUR, 20 * HOUR))
    const first = await world.run(4 * DAY)
    const { deep_recounted_at: _, held, ...old } = (first.pages.at(-1)?.next ?? {}) as { deep_recounted_at: number; held: { minutes: unknown; tens: unknown } }
    const next = { ...old, held: { minutes: held.minutes, tens: held.tens } }
    const rest = await new World({ like: world }).run(4 * DAY + 2 * HOUR, next)
    expect(rest.ids).toEqual([])
  })

  it('goes on with what is new while a re-count finds much', async () => {
    const world = new World({ limits: { rows: 50 }, max_rows: 40, requests: 6 })
    world.put(rows(6000, START - 20 * HOUR, 5 * HOUR, (_n, at) => ({ ingested_at: at, visible_at: START + 20 * MINUTE })))
    world.put(rows(400, START, 4 * HOUR).map((row) => ({ ...row, item_id: `new-${row.item_id}` })))
    const found = new Map<string, number>()
    const { ids } = await world.run(4 * HOUR + 10 * MINUTE, undefined, world.source(), (page) => {
      for (const { id, ingested_at } of page.records) if (id.startsWith('new-')) found.set(id, world.clock.now() - (ingested_at ?? 0))
    })
    expect(ids.sort()).toEqual(world.ids())
    expect(Math.max(...found.values())).toBeLessThan(10 * MINUTE)
  })

  it('reads windows above the caps in parts, a burst in one millisecond too', async () => {
    const world = new World({ limits: { rows: 500, bytes: 200_000 }, max_rows: 400, max_bytes: 100_000 })
    world.put(rows(3000, START - 2 * HOUR, 20 * MINUTE))
    world.put(rows(2500, START - HOUR, 0).map((row) => ({ ...row, item_id: `burst-${row.item_id}` })))
    const { ids, again } = await world.run(10 * MINUTE)
    expect(ids.sort()).toEqual(world.ids())
    expect(again).toBe(0)
    expect(world.partials()).toBe(0) // counted first: no answer was ever cut
  })

  it.each<[string, (n: number) => Fault | undefined]>([
    ['partial results', (n) => (n % 3 === 0 ? { kind: 'partial', keep: 0.5 } : undefined)],
    ['answers that are short and do not say so', (n) => (n % 4 === 1 ? { kind: 'short', keep: 0.7 } : undefined)],
    ['time-outs', (n) => (n % 4 === 2 ? { kind: 'status', status: 504 } : undefined)],
    ['204 out of season', (n) => (n % 5 === 2 ? { kind: 'no-content' } : undefined)],
    ['throttling', (n) => (n % 4 === 2 ? { kind: 'status', status: 429, retry_after: 3 } : undefined)],
    ['failures of the service', (n) => (n % 4 === 2 ? { kind: 'status', status: 503 } : undefined)],
  ])('loses nothing to %s', async (_name, fault) => {
    const world = new World()
    world.put(rows(800, START - HOUR, 2 * HOUR, (_n, at) => ({ ingested_at: at, visible_at: at + 3 * MINUTE })))
    world.model.fault = (_request, n) => fault(n)
    const { ids } = await world.run(4 * HOUR)
    expect([...new Set(ids)].sort()).toEqual(world.ids())
  })

  it.each([-10 * MINUTE, 10 * MINUTE])('loses nothing with a clock that is off by %d ms', async (skew) => {
    const world = new World({ skew })
    world.put(rows(800, START - HOUR, 3 * HOUR, (_n, at) => ({ ingested_at: at, visible_at: at + 13 * MINUTE })))
    const { ids } = await world.run(4 * HOUR)
    expect(ids.sort()).toEqual(world.ids())
  })

  it('goes on behind every page after a kill: nothing lost, and only the window in hand again', async () => {
    const world = new World({ max_rows: 150 })
    world.put(rows(900, START - 3 * HOUR, 2 * HOUR))
    const { pages } = await world.run(10 * MINUTE)
    for (let killed = 0; killed < pages.length; killed++) {
      const before = pages.slice(0, killed + 1)
      const next = JSON.parse(JSON.stringify(before.at(-1)?.next)) as unknown
      const rest = await new World({ like: world }).run(10 * MINUTE, next)
      const all = [...idsOf(before), ...rest.ids]
      expect([...new Set(all)].sort()).toEqual(world.ids())
      expect(all.length - world.ids().length).toBeLessThanOrEqual(150)
    }
  })

  it('publishes again what a page that failed had', async () => {
    const world = new World()
    world.put(rows(50, START - HOUR, 10 * MINUTE))
    const source = world.source()
    const stop = new AbortController()
    for await (const page of source.read(undefined, stop.signal)) if (page.records.length > 0) break // the bus refused it
    const { ids } = await world.run(10 * MINUTE, undefined, source)
    expect(ids.sort()).toEqual(world.ids())
  })

  it('tells rows apart by content where the table has no _ItemId; twins are two', async () => {
    const world = new World({ item_ids: false })
    const made = rows(200, START - HOUR, 30 * MINUTE)
    world.put(made)
    world.put(made.slice(0, 20)) // agree in everything
    const { records } = await world.run(2 * HOUR)
    // The service gives the columns in any order.
    const numbers = (bodies: readonly { body: string }[]) => bodies.map(({ body }) => (JSON.parse(body) as { n: number }).n).sort((a, b) => a - b)
    expect(numbers(records)).toEqual(numbers([...made, ...made.slice(0, 20)]))
    expect(new Set(records.map(({ id }) => id)).size).toBe(220)
  })

  it('finds a late row of a table without _ItemId without giving the others again', async () => {
    const world = new World({ item_ids: false })
    world.put(rows(100, START - 20 * MINUTE, MINUTE, (n, at) => ({ ingested_at: at, visible_at: n === 50 ? START + 5 * MINUTE : at })))
    const { ids, again } = await world.run(2 * HOUR)
    expect([ids.length, again]).toEqual([100, 0])
  })

  it('sends prompts nowhere: the built-in steps of each table are understood, and take the messages away', async () => {
    const { builtinTables } = await import('./tables.ts')
    const body = JSON.stringify({
      n: 1,
      ResourceProvider: 'MICROSOFT.KEYVAULT',
      Category: 'AuditEvent',
      DeploymentName: 'chat',
      RequestBody: 'a prompt',
      BackendRequestBody: 'a prompt',
      RequestMessages: 'a prompt',
    })
    for (const table of Object.keys(builtinTables)) {
      const world = new World({ table })
      world.put([{ item_id: 'a', event_time: START - HOUR, ingested_at: START - HOUR, visible_at: 0, body }])
      const { records } = await world.run(10 * MINUTE)
      expect(records.length).toBe(1)
      if (table.startsWith('Api')) expect(records[0]?.body.replace('RequestMessages', '')).not.toContain(table.endsWith('Logs') ? 'Body' : 'Messages')
    }
  })

  it('does not damage numbers above 2^53, nor times', async () => {
    const world = new World()
    const body = '{"ticks":638412345678901234,"at":"2026-03-02T11:00:00.1234567Z"}'
    world.put([{ item_id: 'a', event_time: START - HOUR, ingested_at: START - HOUR, ticks: 1234, visible_at: 0, body }])
    const { records } = await world.run(10 * MINUTE)
    expect(records).toMatchObject([{ body, ingested_at: START - HOUR, at: START - HOUR }])
  })

  it('asks no more than its share: a quiet table costs little, and re-counting does not read again', async () => {
    const world = new World()
    world.put(rows(500, START - HOUR, HOUR))
    await world.run(3 * HOUR)
    const asked = world.model.requests
    expect(asked.length).toBeLessThan(3 * 60 * 2.2)
    expect(asked.reduce((sum, { query, rows: given }) => sum + (query.includes('tw_row =') ? given : 0), 0)).toBeLessThanOrEqual(500 * 1.1)
  })

  it('stays within 60 % of the request limit when there is much to do', async () => {
    const world = new World({ limits: { rows: 50 }, max_rows: 40 })
    world.put(rows(20_000, START - 2 * HOUR, HOUR))
    const { ids } = await world.run(30 * MINUTE)
    expect(ids.sort()).toEqual(world.ids())
    const times = world.model.requests.map(({ at }) => at)
    const most = Math.max(...times.map((at, n) => times.slice(n).findIndex((later) => later >= at + 30 * SECOND)))
    expect(most).toBeLessThanOrEqual(120)
  })

  it.each([
    ['no permission', (world: World) => world.model.workspace(WORKSPACE, { access: 'denied' }), /Log Analytics Data Reader/],
    ['a Basic table', (world: World) => world.model.table(WORKSPACE, TABLE, { plan: 'basic' }), /Basic or Auxiliary plan.*Analytics/],
    ['no such table', (world: World) => world.model.dropTable(WORKSPACE, TABLE), /diagnostic setting/],
    ['nonsense', (world: World) => world.model.workspace(WORKSPACE, { answers: 'nonsense' }), /nonsense.*proxy/],
    ['no such workspace', (world: World) => world.model.workspace(WORKSPACE, { answers: 'not-found' }), /Workspace ID/],
  ])('names what is missing: %s', async (_name, spoil, message) => {
    const world = new World()
    world.model.table(WORKSPACE, 'Another')
    spoil(world)
    const error: unknown = await world.run(MINUTE).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(PermanentError)
    expect(String(error)).toMatch(message)
    await expect(world.source().probe?.(new AbortController().signal)).rejects.toThrow(message)
  })

  it('heals by itself', async () => {
    const world = new World()
    world.put(rows(50, START - HOUR, 10 * MINUTE))
    world.model.workspace(WORKSPACE, { access: 'denied' })
    await expect(world.run(MINUTE)).rejects.toThrow('permission')
    world.model.workspace(WORKSPACE, {})
    expect((await world.run(10 * MINUTE)).ids.length).toBe(50)
  })

  it('a workspace without any data is read, and found filled later', async () => {
    const world = new World()
    world.model.dropTable(WORKSPACE, TABLE)
    const first = await world.run(30 * MINUTE)
    expect(first.ids).toEqual([])
    world.model.table(WORKSPACE, TABLE)
    world.put(rows(50, world.clock.now(), 10 * MINUTE))
    expect((await world.run(40 * MINUTE, first.pages.at(-1)?.next)).ids.length).toBe(50)
  })
})

interface WorldOptions {
  limits?: Partial<ModelLimits>
  max_rows?: number
  max_bytes?: number
  skew?: number
  requests?: number
  item_ids?: boolean
  table?: string
  /** The same rows. */
  like?: World
}

class World {
  readonly clock = new ManualClock(START)
  readonly model: LogAnalytics
  readonly #options: WorldOptions

  constructor(options: WorldOptions = {}) {
    this.#options = { ...options.like?.options, ...options }
    this.model = new LogAnalytics({ clock: this.clock, ...(this.#options.limits === undefined ? {} : { limits: this.#options.limits }) })
    this.model.workspace(WORKSPACE)
    this.model.table(WORKSPACE, this.#options.table ?? TABLE, { item_ids: this.#options.item_ids ?? true, any_order: this.#options.item_ids === false })
    if (options.like !== undefined) this.put(options.like.model.rows(WORKSPACE, TABLE))
  }

  get options(): WorldOptions {
    return this.#options
  }

  put(made: readonly ModelRow[]): void {
    this.model.put(WORKSPACE, this.#options.table ?? TABLE, made)
  }

  ids(): string[] {
    return this.model
      .rows(WORKSPACE, TABLE)
      .map(({ item_id }) => item_id)
      .sort()
  }

  partials(): number {
    return this.model.requests.filter(({ status, rows: given }) => status === 200 && given >= (this.#options.limits?.rows ?? Infinity)).length
  }

  source(): Source<unknown> {
    const { max_rows = 100_000, max_bytes = 20_000_000, skew = 0, requests = 120 } = this.#options
    const options = config.parse({ workspaces: [{ id: WORKSPACE, name: 'prod' }], tables: [this.#options.table ?? TABLE], max_rows, max_bytes, requests_per_30s: requests })
    const clock = { now: () => this.clock.now() + skew, sleep: (ms: number, signal?: AbortSignal) => this.clock.sleep(ms, signal) }
    const [source] = azureSources(inProcess(this.model), options, { clock, log: silentLogger })
    if (source === undefined) throw new Error('no source')
    return source
  }

  /** Reads for so long, as the collector does: again after what may pass, with the last page that was taken. */
  async run(ms: number, after?: unknown, source = this.source(), taken?: (page: Page<unknown>) => void) {
    const until = this.clock.now() + ms
    const stop = new AbortController()
    const pages: Page<unknown>[] = []
    let next = after
    while (this.clock.now() < until) {
      try {
        for await (const page of source.read(next, stop.signal)) {
          pages.push(page)
          taken?.(page)
          next = page.next
          if (this.clock.now() >= until) break
        }
      } catch (error) {
        if (error instanceof PermanentError) throw error
        this.clock.advance(5 * SECOND)
      }
    }
    const ids = idsOf(pages)
    return { pages, ids, records: pages.flatMap(({ records }) => records), again: ids.length - new Set(ids).size }
  }
}

const idsOf = (pages: readonly Page<unknown>[]): string[] => pages.flatMap(({ records }) => records.map(({ id }) => id))

/** 80 % at once, 15 % in half an hour, 5 % in five. */
const lateness = (random: Random): number => {
  const kind = random()
  return random() * (kind < 0.8 ? 2 * SECOND : kind < 0.95 ? 30 * MINUTE : 5 * HOUR)
}

function rows(count: number, from: number, over: number, times?: (n: number, at: number) => Pick<ModelRow, 'ingested_at' | 'visible_at'>): ModelRow[] {
  return Array.from({ length: count }, (_, n) => {
    const at = Math.floor(from + (over * n) / count)
    const { ingested_at, visible_at } = times?.(n, at) ?? { ingested_at: at, visible_at: at }
    return { item_id: `row-${n}`, event_time: at - 4 * MINUTE, ingested_at, visible_at, body: JSON.stringify({ n, OperationName: 'SecretGet' }) }
  })
}

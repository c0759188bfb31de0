import * as fc from 'fast-check'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { picoToUsd } from '../pricing/money.ts'
import { priceOverlay } from '../pricing/overlay.ts'
import { createPriceBook, loadPriceBook, type PriceBook } from '../pricing/price-book.ts'
import { createRater } from '../pricing/rate.ts'
import { seededRandom } from '../runtime/random.ts'
import { attributionEntry } from '../schemas/attribution.ts'
import type { UsageEvent } from '../schemas/usage.ts'
import type { Store } from '../store/store.ts'
import { insertUsage, openLedgerStore, usage } from '../test/support/ledger-store.ts'
import { loadAttribution } from './attribution.ts'
import { loadPrices } from './prices.ts'
import { markRepricedDays, readDays } from './dirty-days.ts'
import { isRollupCurrent, markDirty, rebuildDirtyDays } from './rollup.ts'
import { createStage } from './rollup-stage.ts'

const book = loadPriceBook()
const rater = createRater(book)
let store: Store
let close: () => Promise<void>
beforeAll(async () => {
  ;({ store, close } = await openLedgerStore())
  await loadPrices(store, book)
})
afterAll(() => close())
beforeEach(async () => {
  for (const table of ['usage_events', 'usage_15m', 'usage_daily', 'dirty_days']) await store.command(`TRUNCATE TABLE ${store.database}.${table}`)
  await loadAttribution(store, [])
})

const teamDays = () =>
  store.query(
    `SELECT toString(day) AS d, team_id, sum(requests) AS n, sum(input_tokens) AS i, sum(output_tokens) AS o, toString(sum(cost_usd)) AS c, toString(sum(list_cost_usd)) AS l, sum(unpriced_tokens) AS u FROM spend_daily GROUP BY d, team_id ORDER BY d, team_id`,
  )
const owner = (ref: string, team: string, from: string | null = null, until: string | null = null) => attributionEntry.parse({ owner: ref, team, from, until })

/** Events over the whole book: every model and tier that has a price, some that have none, every kind of usage. */
function randomEvents(seed: number, count: number, priced: PriceBook = book): UsageEvent[] {
  const random = seededRandom(seed)
  const rate = createRater(priced)
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!
  const names = [...new Map(priced.rows().map((row) => [`${row.provider} ${row.model} ${row.tier}`, row])).values()]
  const tokens = () => (random() < 0.25 ? null : random() < 0.2 ? 0 : Math.floor(random() ** 3 * 600_000))
  return Array.from({ length: count }, (_, index) => {
    const { provider, model, tier } = pick(names)
    const key = `fp_${Math.floor(random() * 9)}`
    return usage(
      `${seed}/${index}`,
      {
        provider,
        model: random() < 0.05 ? null : random() < 0.05 ? 'unheard-of' : model.startsWith('ft:') ? `${model}:acme::${index % 3}` : model,
        request_model: random() < 0.5 ? null : model,
        deployment: random() < 0.5 ? null : model,
        tier: random() < 0.05 ? 'scale' : tier,
        event_time: Date.UTC(2024, 8, 30) + Math.floor(random() * 4 * 86_400_000),
        owner_ref: `key:${key}`,
        api_key_id: key,
        usage_source: random() < 0.05 ? 'absent' : 'provider',
        outcome: random() < 0.1 ? 'server_error' : 'success',
        input_tokens: tokens(),
        output_tokens: tokens(),
        cache_read_input_tokens: random() < 0.5 ? null : tokens(),
        cache_write_input_tokens: random() < 0.8 ? null : tokens(),
        audio_input_tokens: random() < 0.9 ? null : tokens(),
        image_input_tokens: random() < 0.9 ? null : tokens(),
        audio_output_tokens: random() < 0.9 ? null : tokens(),
        image_output_tokens: random() < 0.9 ? null : tokens(),
        images: random() < 0.95 ? null : Math.floor(random() * 9),
        audio_duration_ms: random() < 0.95 ? null : tokens(),
      },
      rate,
    )
  })
}

const byKey = ([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number => (a < b ? -1 : 1)

const sumPico = (events: readonly UsageEvent[], priced: PriceBook): Record<string, { cost: string; list: string; unmetered: number }> => {
  const rate = createRater(priced)
  const days = new Map<string, { cost: bigint; list: bigint; unmetered: number }>()
  for (const event of events) {
    const key = `${new Date(event.event_time).toISOString().slice(0, 10)} ${event.api_key_id}`
    const day = days.get(key) ?? { cost: 0n, list: 0n, unmetered: 0 }
    const rating = rate.rate(event)
    day.cost += rating.cost_pico ?? 0n
    day.list += rating.list_cost_pico ?? 0n
    if (rating.cost_pico === null && !rating.unpriced && event.outcome === 'success') day.unmetered += 1
    days.set(key, day)
  }
  return Object.fromEntries([...days].sort(byKey).map(([key, { cost, list, unmetered }]) => [key, { cost: picoToUsd(cost), list: picoToUsd(list), unmetered }]))
}

/** How many groups of 15 minutes have no known cost at all, and how many have something unpriced. */
function groupsOf(events: readonly UsageEvent[], priced: PriceBook): { unknown: number; unpriced: number } {
  const rate = createRater(priced)
  const groups = new Map<string, { known: boolean; unpriced: boolean }>()
  for (const event of events) {
    const key = [Math.floor(event.event_time / 900_000), event.api_key_id, event.provider, event.model ?? event.request_model ?? event.deployment, event.tier, event.ctx].join(' ')
    const rating = rate.rate(event)
    const group = groups.get(key) ?? { known: false, unpriced: false }
    groups.set(key, { known: group.known || rating.cost_pico !== null, unpriced: group.unpriced || rating.unpriced })
  }
  const all = [...groups.values()]
  return { unknown: all.filter((group) => !group.known).length, unpriced: all.filter((group) => group.unpriced).length }
}

async function fromTable(table: 'usage_15m' | 'usage_daily'): Promise<unknown> {
  const day = table === 'usage_daily' ? 'day' : 'toDate(bucket)'
  const rows = await store.query<{ k: string; c: string; l: string; u: string }>(
    `SELECT concat(toString(${day}), ' ', api_key_id) AS k, toString(sum(ifNull(cost, 0))) AS c, toString(sum(ifNull(list_cost, 0))) AS l, sum(unmetered_requests) AS u FROM ${table} GROUP BY k ORDER BY k`,
  )
  return Object.fromEntries(rows.map(({ k, c, l, u }) => [k, { cost: c, list: l, unmetered: Number(u) }]))
}

describe('the rollup and the rater', () => {
  const discounted = loadPriceBook(
    priceOverlay.parse({
      discounts: [{ provider: 'openai', percent: '7.3333', from: '2024-10-02' }],
      list: [{ provider: 'openai', models: ['gpt-4o-mini'], prices: [{ tier: 'scale', usd: { in_uncached: '0', out_text: '0' } }] }],
    }),
  )

  it.each([
    ['the public book', 1, book],
    ['a book with discounts and a price of zero', 2, discounted],
  ])('agree to the last digit over every model of %s: raw = 15 minutes = day', async (_, seed, priced) => {
    await loadPrices(store, priced)
    const events = randomEvents(seed, 6000, priced)
    await insertUsage(store, events)
    expect(await rebuildDirtyDays(store)).toBe(4)
    const expected = sumPico(events, priced)
    expect(await fromTable('usage_15m')).toEqual(expected)
    expect(await fromTable('usage_daily')).toEqual(expected)
    expect(
      await store.query(`SELECT countIf(cost IS NULL)::Int32 AS unknown, countIf(unpriced_tokens + unpriced_images + unpriced_audio_ms > 0)::Int32 AS unpriced FROM usage_15m`),
    ).toEqual([groupsOf(events, priced)])
    await loadPrices(store, book)
  })

  it('agree on what is unknown: a group without any known cost is NULL, not 0', async () => {
    const of = (model: string, fields: Partial<UsageEvent>) => usage(model + JSON.stringify(fields), { model, ...fields }, rater)
    await insertUsage(store, [
      of('unheard-of', { input_tokens: 5, output_tokens: 5 }),
      of('gpt-4o-2024-08-06', { usage_source: 'absent' }),
      of('gpt-4o-mini', { input_tokens: 0, output_tokens: 0, outcome: 'server_error' }),
      of('gpt-4.1-mini', { input_tokens: 1000, cache_read_input_tokens: 0, output_tokens: 0 }),
      of('gpt-4.1-mini', { usage_source: 'absent' }),
    ])
    await rebuildDirtyDays(store)
    expect(
      await store.query(
        `SELECT model, toString(cost_usd) AS c, toInt32(requests) AS n, toInt32(failed_requests) AS f, toInt32(unpriced_tokens) AS u, toInt32(unmetered_requests) AS m FROM spend_daily ORDER BY model`,
      ),
    ).toEqual([
      { model: 'gpt-4.1-mini', c: '0.0004', n: 2, f: 0, u: 0, m: 1 },
      { model: 'gpt-4o-2024-08-06', c: null, n: 1, f: 0, u: 0, m: 1 },
      { model: 'gpt-4o-mini', c: '0', n: 1, f: 1, u: 0, m: 0 },
      { model: 'unheard-of', c: null, n: 1, f: 0, u: 10, m: 0 },
    ])
    expect(await store.query(`SELECT model, toInt32(unpriced_tokens) AS u, toInt32(unmetered_requests) AS m FROM unpriced_usage ORDER BY model`)).toEqual([
      { model: 'gpt-4.1-mini', u: 0, m: 1 },
      { model: 'gpt-4o-2024-08-06', u: 0, m: 1 },
      { model: 'unheard-of', u: 10, m: 0 },
    ])
  })
})

describe('a rebuilt day', () => {
  it('is the same after replays in any cut and order', async () => {
    const events = randomEvents(3, 1500)
    await loadAttribution(
      store,
      [0, 1, 2, 3].map((n) => owner(`key:fp_${n}`, `team-${n % 2}`)),
    )
    await insertUsage(store, events)
    await rebuildDirtyDays(store)
    const once = await teamDays()
    expect(once.length).toBe(12)
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 0, max: events.length }), { minLength: 1, maxLength: 4 }), fc.boolean(), async (cuts, backwards) => {
        const order = backwards ? events.toReversed() : events
        const edges = [0, ...cuts.sort((a, b) => a - b), events.length]
        for (const [index, from] of edges.entries()) {
          const part = order.slice(from, edges[index + 1] ?? from)
          if (part.length > 0) await insertUsage(store, part)
          if (index % 2 === 1) await rebuildDirtyDays(store)
        }
        await rebuildDirtyDays(store)
        expect(await teamDays()).toEqual(once)
        expect(await isRollupCurrent(store)).toBe(true)
      }),
      { numRuns: 3 },
    )
  })

  it('is the only one touched by a late event', async () => {
    await insertUsage(store, randomEvents(4, 400))
    await rebuildDirtyDays(store)
    const builds = () => store.query<{ d: string; b: string }>(`SELECT toString(day) AS d, toString(any(built_at)) AS b FROM usage_daily GROUP BY day ORDER BY day`)
    const before = await builds()
    expect(await rebuildDirtyDays(store)).toBe(0)
    await insertUsage(store, [usage('late', { event_time: Date.UTC(2024, 9, 1, 23, 59, 59, 999), input_tokens: 10 }, rater)])
    expect(await isRollupCurrent(store)).toBe(false)
    expect(await rebuildDirtyDays(store)).toBe(1)
    const after = await builds()
    expect(after.filter((row, index) => row.b !== before[index]?.b).map((row) => row.d)).toEqual(['2024-10-01'])
    expect(await isRollupCurrent(store)).toBe(true)
  })

  it('disappears when its events do', async () => {
    await insertUsage(store, randomEvents(5, 200))
    await rebuildDirtyDays(store)
    await store.command(`ALTER TABLE usage_events DELETE WHERE toDate(event_time) = '2024-10-02' SETTINGS mutations_sync = 2`)
    await markDirty(store, ['2024-10-02'])
    expect(await rebuildDirtyDays(store)).toBe(1)
    expect(
      await store.query(`SELECT (SELECT count() FROM usage_15m WHERE toDate(bucket) = '2024-10-02') + (SELECT count() FROM usage_daily WHERE day = '2024-10-02') AS n`),
    ).toEqual([{ n: '0' }])
    expect(await isRollupCurrent(store)).toBe(true)
  })

  it('takes a revised event once, at its newest revision', async () => {
    const fields = { input_tokens: 1000, cache_read_input_tokens: 0, output_tokens: 0 }
    await insertUsage(store, [usage('r', { ...fields, input_tokens: null, usage_source: 'absent' }, rater)])
    await rebuildDirtyDays(store)
    await insertUsage(store, [usage('r', { ...fields, revision: 1 }, rater)])
    await rebuildDirtyDays(store)
    expect(await store.query(`SELECT toInt32(requests) AS n, toInt32(unmetered_requests) AS m, toString(cost_usd) AS c FROM spend_daily`)).toEqual([{ n: 1, m: 0, c: '0.0025' }])
  })
})

it('divides any number of days without neighbours into portions', async () => {
  const days = Array.from({ length: 2400 }, (_, index) => new Date(Date.UTC(2015, 0, 1) + index * 2 * 86_400_000).toISOString().slice(0, 10))
  await insertUsage(store, [usage('first', { event_time: Date.parse('2015-01-03T12:00:00Z') }), usage('last', { event_time: Date.parse('2027-01-05T12:00:00Z') })])
  await markDirty(store, days)
  const stage = await createStage(store)
  const { days: marked } = await readDays(store)
  const portions = await stage.portions(marked)
  expect(portions.flat()).toEqual(marked)
  expect(Math.max(...portions.map((portion) => portion.length))).toBeLessThan(100)
  await stage.drop()
})

describe('owners', () => {
  const spend = () => store.query(`SELECT toString(day) AS d, team_id AS t, toString(sum(cost_usd)) AS c FROM spend_daily GROUP BY d, t ORDER BY d, t`)
  const event = (day: number, key: string) =>
    usage(
      `${day} ${key}`,
      { event_time: Date.UTC(2026, 5, day, 23, 30), owner_ref: `key:${key}`, api_key_id: key, input_tokens: 1000, cache_read_input_tokens: 0, output_tokens: 0 },
      rater,
    )

  it('change the views at UTC midnight without a rebuild; nobody is visible as such', async () => {
    await insertUsage(store, [event(1, 'a'), event(2, 'a'), event(2, 'b')])
    await rebuildDirtyDays(store)
    const stored = () => store.query(`SELECT * FROM usage_15m ORDER BY ALL`)
    const before = await stored()
    expect(await spend()).toEqual([
      { d: '2026-06-01', t: 'unattributed', c: '0.0025' },
      { d: '2026-06-02', t: 'unattributed', c: '0.005' },
    ])
    expect(await loadAttribution(store, [owner('key:a', 'search', null, '2026-06-02'), owner('key:a', 'ads', '2026-06-02')])).toBe(2)
    expect(await rebuildDirtyDays(store)).toBe(0)
    expect(await spend()).toEqual([
      { d: '2026-06-01', t: 'search', c: '0.0025' },
      { d: '2026-06-02', t: 'ads', c: '0.0025' },
      { d: '2026-06-02', t: 'unattributed', c: '0.0025' },
    ])
    expect(await store.query(`SELECT toString(day) AS d, owner_ref AS o, toString(cost_usd) AS c FROM unattributed_spend`)).toEqual([{ d: '2026-06-02', o: 'key:b', c: '0.0025' }])
    expect(await store.query(`SELECT DISTINCT team_id AS t FROM spend_hourly ORDER BY t`)).toEqual([{ t: 'ads' }, { t: 'search' }, { t: 'unattributed' }])
    expect(await stored()).toEqual(before)
  })

  it('are written only where they changed; a later entry wins on its days', async () => {
    const first = [owner('key:a', 'search'), owner('key:b', 'ads', '2026-01-01')]
    expect(await loadAttribution(store, first)).toBe(2)
    expect(await loadAttribution(store, first)).toBe(0)
    expect(await loadAttribution(store, [...first, owner('key:a', 'maps', '2026-06-02', '2026-06-03')])).toBe(3)
    const teamAt = async (day: string) =>
      (await store.query<{ t: string }>(`SELECT dictGet('${store.database}.attribution_dictionary', 'team', tuple('key:a'), toDate('${day}')) AS t`))[0]?.t
    expect([await teamAt('2026-06-01'), await teamAt('2026-06-02'), await teamAt('2026-06-03')]).toEqual(['search', 'maps', 'search'])
    expect(await loadAttribution(store, [])).toBe(4)
    expect(await teamAt('2026-06-02')).toBe('')
  })
})

describe('prices in the store', () => {
  const overlay = (usd: string, from: string) =>
    priceOverlay.parse({ list: [{ provider: 'openai', models: ['gpt-4o-2024-08-06'], prices: [{ tier: 'default', from, usd: { in_uncached: usd } }] }] })
  const event = (day: number, model: string) =>
    usage(`${day} ${model}`, { event_time: Date.UTC(2026, 5, day, 1), model, input_tokens: 1000, cache_read_input_tokens: 0, output_tokens: 0 }, rater)
  const costs = async () => (await store.query<{ c: string }>(`SELECT toString(cost_usd) AS c FROM spend_daily ORDER BY day, model`)).map((row) => row.c)

  it('are written only where they changed, and re-rate exactly the days that they touch', async () => {
    expect(await loadPrices(store, book)).toBe(0)
    await insertUsage(store, [event(1, 'gpt-4o-2024-08-06'), event(2, 'gpt-4o-2024-08-06'), event(3, 'gpt-4o-mini')])
    await rebuildDirtyDays(store)
    expect(await costs()).toEqual(['0.0025', '0.0025', '0.00015'])
    const changed = loadPriceBook(overlay('0.000003', '2026-06-02'))
    expect(await loadPrices(store, changed)).toBeLessThan(20)
    expect(await isRollupCurrent(store)).toBe(false)
    expect(await rebuildDirtyDays(store)).toBe(1)
    expect(await costs()).toEqual(['0.0025', '0.003', '0.00015'])
    await loadPrices(store, book)
    await rebuildDirtyDays(store)
    expect(await costs()).toEqual(['0.0025', '0.0025', '0.00015'])
    expect(await rebuildDirtyDays(store)).toBe(0)
  })

  it('arriving while another process builds a day for the first time have that day built again', async () => {
    await insertUsage(store, [usage('new', { model: 'gpt-next', input_tokens: 1000 }, rater)])
    await store.command(`SYSTEM RELOAD DICTIONARY ${store.database}.price_dictionary`)
    const stage = await createStage(store)
    const state = await readDays(store)
    // The other process has read its marks and its prices; now ours loads new ones and marks what it finds.
    await loadPrices(
      store,
      loadPriceBook(priceOverlay.parse({ list: [{ provider: 'openai', models: ['gpt-next'], prices: [{ tier: 'default', usd: { in_uncached: '0.000001' } }] }] })),
    )
    await markRepricedDays(store)
    await stage.rebuild(state.days, state)
    await stage.drop()
    expect(await costs()).toEqual([null])
    expect(await isRollupCurrent(store)).toBe(false)
    expect(await rebuildDirtyDays(store)).toBe(1)
    expect(await costs()).toEqual(['0.001'])
    await loadPrices(store, book)
  })

  it('arriving later price what was unpriced', async () => {
    await insertUsage(store, [usage('new', { model: 'gpt-next', input_tokens: 1000 }, rater)])
    await rebuildDirtyDays(store)
    expect(await costs()).toEqual([null])
    await loadPrices(
      store,
      loadPriceBook(priceOverlay.parse({ list: [{ provider: 'openai', models: ['gpt-next'], prices: [{ tier: 'default', usd: { in_uncached: '0.000001' } }] }] })),
    )
    expect(await rebuildDirtyDays(store)).toBe(1)
    expect(await costs()).toEqual(['0.001'])
    await loadPrices(store, book)
  })
})

describe('days of other zones', () => {
  it('are cut exactly from 15 minutes: Asia/Kolkata and America/Los_Angeles sum to the same total', async () => {
    const events = randomEvents(6, 3000)
    await insertUsage(store, events)
    await rebuildDirtyDays(store)
    for (const zone of ['Asia/Kolkata', 'Asia/Kathmandu', 'America/Los_Angeles']) {
      const rows = await store.query<{ d: string; c: string }>(
        `SELECT toString(toDate(bucket, '${zone}')) AS d, toString(sum(ifNull(cost, 0))) AS c FROM usage_15m GROUP BY d ORDER BY d`,
      )
      const expected = new Map<string, bigint>()
      const day = new Intl.DateTimeFormat('en-CA', { timeZone: zone })
      for (const event of events) {
        const key = day.format(event.event_time)
        expected.set(key, (expected.get(key) ?? 0n) + (rater.rate(event).cost_pico ?? 0n))
      }
      expect(rows.map(({ d, c }) => [d, c])).toEqual([...expected].sort(byKey).map(([d, c]) => [d, picoToUsd(c)]))
      expect(rows.length).toBe(5)
    }
  })
})

it('loads an empty book as deletions and back again', async () => {
  const rows = book.rows().length
  expect(await loadPrices(store, createPriceBook({ version: 'none', currency: 'USD', sources: [], entries: [] }))).toBe(rows)
  expect(await loadPrices(store, book)).toBe(rows)
})

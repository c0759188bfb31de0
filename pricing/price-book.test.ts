import { describe, expect, it } from 'vitest'
import { UsageError } from '../runtime/errors.ts'
import { type BookFile, bookFile } from './book-file.ts'
import { priceOverlay } from './overlay.ts'
import { createPriceBook, loadPriceBook } from './price-book.ts'
import { createRater } from './rate.ts'
import { usage } from '../test/support/ledger-store.ts'

const price = (usd: Record<string, string>, rest: object = {}) => ({ tier: 'default', usd, ...rest })
const book = (...prices: object[]): BookFile => bookFile.parse({ version: 'test', entries: [{ provider: 'openai', models: ['m'], prices }] })
const simple = book(price({ in_uncached: '0.000002', out_text: '0.000008' }))
const problemsOf = (work: () => unknown): readonly string[] => {
  try {
    work()
  } catch (error) {
    if (error instanceof UsageError) return error.problems
    throw error
  }
  return []
}
const thousand = { model: 'm', input_tokens: 1000, output_tokens: 0 } as const
const costAt = (overlay: unknown, day: string, event: object = thousand) => {
  const rating = createRater(createPriceBook(simple, [priceOverlay.parse(overlay)])).rate(usage(1, { event_time: Date.parse(day), ...event }))
  return [rating.cost_usd, rating.list_cost_usd]
}

describe('the book that comes with Tokenwatch', () => {
  const built = loadPriceBook()

  it('loads, names its version, and holds OpenAI and Azure from the first chat models to the newest', () => {
    expect(built.version).toMatch(/^\d{4}-\d\d-\d\d$/)
    for (const model of [
      'gpt-3.5-turbo-0613',
      'gpt-4-0613',
      'gpt-4o-2024-08-06',
      'o1-mini',
      'gpt-4.5-preview',
      'gpt-5.4',
      'text-embedding-3-small',
      'gpt-image-1',
      'gpt-4o-transcribe',
      'whisper-1',
    ])
      expect(built.model('openai', model), model).toBeDefined()
    for (const model of ['gpt-35-turbo', 'gpt-4o', 'gpt-4o-2024-08-06', 'gpt-4.1-2025-04-14', 'text-embedding-ada-002'])
      expect(built.model('azure.ai.openai', model), model).toBeDefined()
    expect(built.model('openai', 'gpt-4o-my-deployment')).toBeUndefined()
  })

  it('has no price of zero or above a thousand dollars per million tokens, and no two for the same day', () => {
    const seen = new Map<string, number>()
    for (const row of built.rows().sort((a, b) => a.from_day - b.from_day)) {
      expect(row.list, `${row.model} ${row.meter}`).toBeGreaterThan(0n)
      expect(row.list, `${row.model} ${row.meter}`).toBeLessThanOrEqual(1_000_000_000n)
      const key = [row.provider, row.model, row.tier, row.ctx, row.meter].join()
      expect(row.from_day, key).toBeGreaterThanOrEqual(seen.get(key) ?? 0)
      seen.set(key, row.until_day)
    }
    expect(seen.size).toBeGreaterThan(4000)
  })
})

describe('loading', () => {
  it('refuses overlapping periods of one key', () => {
    const overlapping = book(price({ in_uncached: '0.1' }, { until: '2025-06-02' }), price({ in_uncached: '0.2' }, { from: '2025-06-01' }))
    expect(problemsOf(() => createPriceBook(overlapping))).toEqual(['price book test: openai m default/std/in_uncached has overlapping periods'])
    expect(problemsOf(() => createPriceBook(book(price({ in_uncached: '0.1' }, { until: '2025-06-01' }), price({ in_uncached: '0.2' }, { from: '2025-06-01' }))))).toEqual([])
  })

  it('refuses long-context prices without a threshold', () => {
    expect(problemsOf(() => createPriceBook(book(price({ in_uncached: '0.1' }, { ctx: 'long' }))))[0]).toMatch('no long_context_above')
  })

  it.each([['1e-7'], ['0.0000000000001'], ['-1'], ['free']])('refuses the price %s', (text) => {
    expect(bookFile.safeParse({ version: 'x', entries: [{ provider: 'p', models: ['m'], prices: [price({ in_uncached: text })] }] }).success).toBe(false)
  })

  it('names the file that is missing', () => {
    expect(problemsOf(() => loadPriceBook({ overlay_file: '/nowhere/prices.yaml' }))[0]).toMatch('/nowhere/prices.yaml')
  })
})

describe('the overlay of a company', () => {
  it('discounts the list price in its period only, and shows both', () => {
    const overlay = { discounts: [{ provider: 'openai', percent: '12.5', from: '2026-01-01', until: '2026-02-01' }] }
    expect(costAt(overlay, '2025-12-31T23:59:59Z')).toEqual(['0.002', '0.002'])
    expect(costAt(overlay, '2026-01-01T00:00:00Z')).toEqual(['0.00175', '0.002'])
    expect(costAt(overlay, '2026-02-01T00:00:00Z')).toEqual(['0.002', '0.002'])
  })

  it('lets a contract price win over a discount', () => {
    const overlay = {
      discounts: [{ provider: 'openai', percent: '50' }],
      contract: [{ provider: 'openai', models: ['m'], prices: [price({ in_uncached: '0.0000019' }, { from: '2026-01-15' })] }],
    }
    expect(costAt(overlay, '2026-01-14T12:00:00Z')).toEqual(['0.001', '0.002'])
    expect(costAt(overlay, '2026-01-15T12:00:00Z')).toEqual(['0.0019', '0.002'])
  })

  it('prices models of its own, provisioned units at a stated zero, and deployments by their model', () => {
    const overlay = {
      list: [
        { provider: 'openai', models: ['own'], prices: [price({ in_uncached: '0.000001' })] },
        { provider: 'azure.ai.openai', models: ['base'], prices: [price({ in_uncached: '0.000003' }), { tier: 'ptu', usd: { in_uncached: '0' } }] },
      ],
      deployments: { 'chat-prod': 'base' },
    }
    expect(costAt(overlay, '2026-01-01', { ...thousand, model: 'own' })).toEqual(['0.001', '0.001'])
    expect(costAt(overlay, '2026-01-01', { ...thousand, provider: 'azure.ai.openai', model: null, request_model: 'chat-prod' })).toEqual(['0.003', '0.003'])
    expect(costAt(overlay, '2026-01-01', { ...thousand, provider: 'azure.ai.openai', model: null, request_model: null, deployment: 'chat-prod', tier: 'ptu' })).toEqual(['0', '0'])
  })

  it('knows deployments that are called like each other’s models, in any order', () => {
    const azure = (model: string) => ({ provider: 'azure.ai.openai', model, input_tokens: 1000, output_tokens: 0 })
    const list = ['cheap', 'dear'].map((model, index) => ({ provider: 'azure.ai.openai', models: [model], prices: [price({ in_uncached: `0.00000${index + 1}` })] }))
    const overlay = { list, deployments: { cheap: 'dear', dear: 'cheap', prod: 'cheap' } }
    expect(['cheap', 'dear', 'prod'].map((name) => costAt(overlay, '2026-01-01', azure(name))[0])).toEqual(['0.002', '0.001', '0.001'])
  })

  it('changes the version, and names a deployment or a discount that means nothing', () => {
    const overlay = priceOverlay.parse({ discounts: [{ provider: 'openai', models: ['x'], percent: '5' }], deployments: { prod: 'y' } })
    expect(problemsOf(() => createPriceBook(simple, [overlay]))).toEqual([
      'prices.discounts.0.models: openai has no model "x"',
      'prices.deployments.prod: azure.ai.openai has no model "y"',
    ])
    expect(createPriceBook(simple, [priceOverlay.parse({ discounts: [{ provider: 'openai', percent: '5' }] })]).version).toMatch(/^test\+[0-9a-f]{6}$/)
  })
})

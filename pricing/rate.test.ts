import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { UsageEvent } from '../schemas/usage.ts'
import { usage } from '../test/support/ledger-store.ts'
import { bookFile } from './book-file.ts'
import { meterNames, metersOf } from './meters.ts'
import { createPriceBook, loadPriceBook } from './price-book.ts'
import { createRater, pricedName } from './rate.ts'

const rater = createRater(loadPriceBook())
const rate = (fields: Partial<UsageEvent>) => rater.rate(usage(1, fields))

// Unit prices in USD per million tokens, worked out by hand: gpt-4o-2024-08-06 2.50 / cached 1.25 / out 10, batch 1.25 / 5;
// gpt-5.4 2.50 / 0.25 / 15, above 272,000 tokens 5 / 0.50 / 22.50.
const golden: [what: string, event: Partial<UsageEvent>, cost: string | null, rest?: object][] = [
  ['plain: 1,000 x 2.5 + 500 x 10 = 7,500 millionths', { input_tokens: 1000, cache_read_input_tokens: 0, output_tokens: 500 }, '0.0075', { upper_bound: false }],
  ['cached: 976 x 2.5 + 1,024 x 1.25 + 300 x 10 = 6,720', { input_tokens: 2000, cache_read_input_tokens: 1024, output_tokens: 300 }, '0.00672'],
  [
    'reasoning is inside output and costs nothing twice: 100 x 1.1 + 900 x 4.4',
    { model: 'o3-mini-2025-01-31', input_tokens: 100, cache_read_input_tokens: 0, output_tokens: 900, reasoning_output_tokens: 832 },
    '0.00407',
  ],
  [
    'batch and cached: cached input has no discount of its own there: 2,000 x 1.25 + 300 x 5',
    { tier: 'batch', input_tokens: 2000, cache_read_input_tokens: 1024, output_tokens: 300 },
    '0.004',
  ],
  ['priority and cached: 976 x 4.25 + 1,024 x 2.125 + 300 x 17 = 11,424', { tier: 'priority', input_tokens: 2000, cache_read_input_tokens: 1024, output_tokens: 300 }, '0.011424'],
  ['flex: 1,000 x 1.25 + 100 x 7.5', { model: 'gpt-5.4', tier: 'flex', input_tokens: 1000, cache_read_input_tokens: 0, output_tokens: 100 }, '0.002'],
  ['at the threshold: 272,000 x 2.5 + 1,000 x 15', { model: 'gpt-5.4', input_tokens: 272_000, cache_read_input_tokens: 0, output_tokens: 1000 }, '0.695', { ctx: 'std' }],
  [
    'one token above, everything is dearer: 172,001 x 5 + 100,000 x 0.5 + 1,000 x 22.5',
    { model: 'gpt-5.4', input_tokens: 272_001, cache_read_input_tokens: 100_000, output_tokens: 1000 },
    '0.932505',
    { ctx: 'long' },
  ],
  ['audio: 50 x 2.5 + 950 x 6 + 100 x 10', { model: 'gpt-4o-transcribe', input_tokens: 1000, audio_input_tokens: 950, cache_read_input_tokens: 0, output_tokens: 100 }, '0.006825'],
  ['speech: 100 x 4 + 200 x 16 + 1,000 x 64', { model: 'gpt-realtime', input_tokens: 100, cache_read_input_tokens: 0, output_tokens: 1200, audio_output_tokens: 1000 }, '0.0676'],
  ['audio by time: 61.5 s of 0.006 a minute', { model: 'whisper-1', request_model: null, audio_duration_ms: 61_500 }, '0.00615'],
  [
    'image tokens: 50 x 5 + 300 x 10 + 4,160 x 40',
    { model: 'gpt-image-1', input_tokens: 350, image_input_tokens: 300, cache_read_input_tokens: 0, output_tokens: 4160 },
    '0.16965',
  ],
  ['embeddings: 8,191 x 0.02', { model: 'text-embedding-3-small', input_tokens: 8191 }, '0.00016382'],
  [
    'fine-tuned: 1,000 x 3.75 + 100 x 15',
    { model: 'ft:gpt-4o-2024-08-06:acme:support:abc123', input_tokens: 1000, cache_read_input_tokens: 0, output_tokens: 100 },
    '0.00525',
    { model_priced: 'ft:gpt-4o-2024-08-06' },
  ],
  [
    'Azure spelling: 1,000 x 0.5 + 100 x 1.5',
    { provider: 'azure.ai.openai', model: 'gpt-35-turbo', input_tokens: 1000, cache_read_input_tokens: 0, output_tokens: 100 },
    '0.00065',
  ],
  ['unknown cache split is priced as uncached: 1,000 x 2.5', { input_tokens: 1000, output_tokens: 0 }, '0.0025', { upper_bound: true }],
  ['no cache price, no upper bound: 1,000 x 30', { model: 'gpt-4-0613', input_tokens: 1000, output_tokens: 0 }, '0.03', { upper_bound: false }],
  ['unknown model', { model: 'gpt-99', request_model: null, input_tokens: 1000, output_tokens: 5 }, null, { unpriced: true, model_priced: null }],
  ['unknown tier', { tier: 'scale', input_tokens: 1000, output_tokens: 5 }, null, { unpriced: true, model_priced: 'gpt-4o-2024-08-06' }],
  [
    'partly priced: audio input of a text model has no price, 40 x 2.5 is known',
    { input_tokens: 100, audio_input_tokens: 60, cache_read_input_tokens: 0, output_tokens: 0 },
    '0.0001',
    { unpriced: true },
  ],
  ['zero-token failure', { input_tokens: 0, output_tokens: 0, outcome: 'server_error', status_code: 500 }, '0', { unpriced: false }],
  ['zero-token failure of an unknown model', { model: 'gpt-99', input_tokens: 0, output_tokens: 0 }, '0', { unpriced: false }],
  ['unmetered', { usage_source: 'absent' }, null, { unpriced: false }],
  ['nothing known', {}, null, { unpriced: false }],
]

describe('golden prices', () => {
  it.each(golden)('%s', (_, event, cost, rest = {}) => expect(rate(event)).toMatchObject({ cost_usd: cost, list_cost_usd: cost, ...rest }))

  it('dates aliases: gpt-4o meant a dearer snapshot until 2024-10-01, o3 became cheaper on 2025-06-10', () => {
    const at = (model: string, time: string) => rate({ model, event_time: Date.parse(time), input_tokens: 1000, cache_read_input_tokens: 0, output_tokens: 0 }).cost_usd
    expect([at('gpt-4o', '2024-10-01T23:59:59.999Z'), at('gpt-4o', '2024-10-02T00:00:00Z')]).toEqual(['0.005', '0.0025'])
    expect([at('o3', '2025-06-09T23:59:59.999Z'), at('o3', '2025-06-10T00:00:00Z')]).toEqual(['0.01', '0.002'])
  })
})

describe('the rater', () => {
  it('prices the model that answered, else the one asked for, else the deployment', () => {
    expect(pricedName({ model: 'a', request_model: 'b', deployment: 'c' })).toBe('a')
    expect(pricedName({ model: null, request_model: 'b', deployment: 'c' })).toBe('b')
    expect(pricedName({ model: null, request_model: null, deployment: 'c' })).toBe('c')
    expect(pricedName({ model: null, request_model: null, deployment: null })).toBeNull()
  })

  it('stays exact beyond 2^53 pico-dollars and at the largest counts', () => {
    const expensive = createRater(
      createPriceBook(
        bookFile.parse({
          version: 't',
          entries: [{ provider: 'openai', models: ['m'], prices: [{ tier: 'default', usd: { in_uncached: '12345.678901234567', out_text: '0.000000000001' } }] }],
        }),
      ),
    )
    const big = expensive.rate(usage(1, { model: 'm', input_tokens: Number.MAX_SAFE_INTEGER, output_tokens: Number.MAX_SAFE_INTEGER }))
    expect(big.cost_pico).toBe(9_007_199_254_740_991n * 12_345_678_901_234_567n + 9_007_199_254_740_991n)
  })

  it('equals a sum of bigint products for any event', () => {
    const book = loadPriceBook()
    const models = [
      ...new Set(
        book
          .rows()
          .filter((row) => row.provider === 'openai')
          .map((row) => row.model),
      ),
    ]
    const count = fc.option(fc.integer({ min: 0, max: 2_000_000 }), { nil: null })
    fc.assert(
      fc.property(
        fc.constantFrom(...models),
        fc.constantFrom('default', 'batch', 'priority'),
        count,
        count,
        count,
        count,
        count,
        (model, tier, input_tokens, cache_read_input_tokens, audio_input_tokens, output_tokens, audio_output_tokens) => {
          const event = usage(1, { model, tier, input_tokens, cache_read_input_tokens, audio_input_tokens, output_tokens, audio_output_tokens })
          const rating = rater.rate(event)
          const day = Math.floor(event.event_time / 86_400_000)
          const prices = new Map(
            book
              .rows()
              .filter((r) => r.model === model && r.provider === 'openai' && r.tier === tier && r.ctx === rating.ctx && r.from_day <= day && day < r.until_day)
              .map((r) => [r.meter, r.contract]),
          )
          const meters = metersOf(event)
          const sum = meterNames.reduce((total, meter) => total + BigInt(meters[meter] ?? 0) * (prices.get(meter) ?? 0n), 0n)
          expect(rating.cost_pico ?? 0n).toBe(sum)
          expect(rating.unpriced).toBe(meterNames.some((meter) => (meters[meter] ?? 0) > 0 && !prices.has(meter)))
        },
      ),
      { numRuns: 60 },
    )
  })
})

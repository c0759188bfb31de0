import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { metersOf } from '../../pricing/meters.ts'
import { readUsage } from './usage-counts.ts'

const counts = (usage: unknown) => {
  const reading = readUsage(usage)
  if (reading.kind !== 'counts') throw new Error(reading.kind)
  return reading
}

describe('usage object', () => {
  it.each([
    [
      'chat',
      {
        prompt_tokens: 10,
        completion_tokens: 4,
        total_tokens: 14,
        prompt_tokens_details: { cached_tokens: 6, cache_write_tokens: 2 },
        completion_tokens_details: { reasoning_tokens: 3 },
      },
    ],
    [
      'responses',
      { input_tokens: 10, output_tokens: 4, total_tokens: 14, input_tokens_details: { cached_tokens: 6, cache_write_tokens: 2 }, output_tokens_details: { reasoning_tokens: 3 } },
    ],
    [
      'runs, with the singular name',
      {
        prompt_tokens: 10,
        completion_tokens: 4,
        total_tokens: 14,
        prompt_token_details: { cached_tokens: 6, cache_write_tokens: 2 },
        completion_tokens_details: { reasoning_tokens: 3 },
      },
    ],
  ])('%s: parts are inside input and output', (_name, usage) => {
    const reading = counts(usage)
    expect(reading.flags).toEqual([])
    expect(reading.counts).toMatchObject({ input_tokens: 10, output_tokens: 4, cache_read_input_tokens: 6, cache_write_input_tokens: 2, reasoning_output_tokens: 3 })
  })

  it('reads the parts of a transcription under their singular name, images and audio', () => {
    expect(
      counts({ type: 'tokens', input_tokens: 30, output_tokens: 5, total_tokens: 35, input_token_details: { text_tokens: 10, audio_tokens: 20 } }).counts.audio_input_tokens,
    ).toBe(20)
    expect(counts({ input_tokens: 50, output_tokens: 9, input_tokens_details: { image_tokens: 40 }, output_tokens_details: { image_tokens: 9 } }).counts).toMatchObject({
      image_input_tokens: 40,
      image_output_tokens: 9,
    })
  })

  it('takes the output of an embedding from the total', () => expect(counts({ prompt_tokens: 7, total_tokens: 7 }).counts.output_tokens).toBe(0))
  it('keeps a written 0 and leaves a missing count unknown', () => {
    const reading = counts({ prompt_tokens: 0 })
    expect(reading.counts).toMatchObject({ input_tokens: 0, output_tokens: null, cache_read_input_tokens: null })
    expect(reading.flags).toEqual(['tokens-missing'])
  })
  it.each([[null], [undefined], [{}], [{ total_tokens: 4 }], [{ prompt_tokens: null, completion_tokens: null }]])('%j is absent', (usage) =>
    expect(readUsage(usage).kind).toBe('absent'),
  )
  it.each([
    [{ prompt_tokens: -1 }, 'prompt_tokens'],
    [{ prompt_tokens: '12', completion_tokens: 1 }, 'prompt_tokens'],
    [{ input_tokens: 1, output_tokens: 1.5 }, 'output_tokens'],
    [{ prompt_tokens: 1e300 }, 'prompt_tokens'],
    [{ prompt_tokens: 1, prompt_tokens_details: { cached_tokens: 'all' } }, 'cached_tokens'],
    [{ type: 'duration', seconds: -2 }, 'seconds'],
    ['12 tokens', 'usage'],
  ])('%j is broken', (usage, field) => expect(readUsage(usage)).toEqual({ kind: 'broken', field }))
  it.each([
    [{ prompt_tokens: 5, completion_tokens: 5, total_tokens: 11 }],
    [{ prompt_tokens: 5, completion_tokens: 5, prompt_tokens_details: { cached_tokens: 6 } }],
    [{ input_tokens: 5, output_tokens: 5, output_tokens_details: { reasoning_tokens: 6 } }],
  ])('%j is flagged', (usage) => expect(counts(usage).flags).toEqual(['tokens-inconsistent']))

  it('is total, and the priced meters of whatever it gives sum to input and output', () => {
    const anyCount = fc.oneof(fc.nat(), fc.constant(null), fc.integer(), fc.string(), fc.double())
    const details = fc.dictionary(fc.constantFrom('cached_tokens', 'cache_write_tokens', 'audio_tokens', 'image_tokens', 'reasoning_tokens', '__proto__'), anyCount)
    const usage = fc.dictionary(fc.constantFrom('prompt_tokens', 'completion_tokens', 'input_tokens', 'output_tokens', 'total_tokens', 'type', 'seconds'), anyCount)
    fc.assert(
      fc.property(usage, details, details, (plain, input, output) => {
        const reading = readUsage({ ...plain, prompt_tokens_details: input, completion_tokens_details: output })
        if (reading.kind !== 'counts') return
        const { counts: found } = reading
        const meters = metersOf({ ...found, images: null })
        if (found.input_tokens === null) return
        const sum = [meters.in_uncached, meters.in_cache_read, meters.in_cache_write, meters.in_audio, meters.in_image].reduce<number>((a, b) => a + (b ?? 0), 0)
        expect(sum).toBe(found.input_tokens)
      }),
    )
    fc.assert(fc.property(fc.anything(), (value) => void readUsage(value)))
  })
})

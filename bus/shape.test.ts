import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { topicNames, topics } from '../schemas/topics.ts'
import { progressOf, usageOf } from '../test/contract/bus-events.ts'
import { shapeOf } from './shape.ts'

const NUMBERS = [0, -0, 1, -1, 1.5, 128, 129, 999, 1000, 2 ** 53 - 1, 2 ** 53, Infinity, 4_102_444_800_000, 4_102_444_800_001]
const WORDS = ['', 'x', 'DE', 'success', 'std', 'priced', 'none', 'default', '1.5', '-0.000000000001', '1.0000000000001', '1e5', 'a'.repeat(64)]
const LENGTHS = [32, 33, 1024, 1025, 2000, 2001].map((length) => 'x'.repeat(length))
const IDS = ['00000000-0000-8000-8000-000000000000', '00000000-0000-8000-8000-00000000000G']
const target = { kind: 'k', id: 'i', provider: 'p' }
const NESTED = [[], ['x'], [1], Array.from({ length: 17 }, () => 'f'), {}, target, { ...target, more: 1 }]
const edges = fc.constantFrom<unknown[]>(null, undefined, true, false, ...NUMBERS, ...WORDS, ...LENGTHS, ...IDS, ...NESTED)

/** What zod says: accepted, and the same value given back. */
function unchanged(schema: z.ZodType, value: unknown): boolean {
  const parsed = schema.safeParse(value)
  return parsed.success && JSON.stringify(parsed.data) === JSON.stringify(value)
}

describe('shapeOf', () => {
  it('says the same as zod for every field of every topic', () => {
    for (const topic of topicNames) {
      const { schema } = topics[topic]
      if (shapeOf(schema) === undefined) continue
      for (const [name, field] of Object.entries(schema.shape as Record<string, z.ZodType>)) {
        const shape = shapeOf(field)
        fc.assert(
          fc.property(fc.oneof(edges, fc.jsonValue()), (value) => {
            expect([topic, name, value, shape?.(value)]).toEqual([topic, name, value, unchanged(field, value)])
          }),
          { numRuns: 120 },
        )
      }
    }
  })

  it('says the same as zod for records of which something was changed, added or taken away', () => {
    const samples = [
      ['usage.v1', usageOf('a', 1)],
      ['progress.v1', progressOf('s', 1)],
      ['progress.v1', { ...progressOf('s', 1), late_histogram: [1, 2], lag_ms: null, own_delay_ms: 5 }],
    ] as const
    for (const [topic, good] of samples) {
      const { schema } = topics[topic]
      const shape = shapeOf(schema)
      expect(shape?.(good)).toBe(true)
      const names = fc.constantFrom(...Object.keys(good), 'unknown', '__proto__', 'constructor', 'toString')
      fc.assert(
        fc.property(fc.array(fc.tuple(names, edges, fc.boolean()), { minLength: 1, maxLength: 3 }), (changes) => {
          const removed = new Set(changes.filter(([, , remove]) => remove).map(([name]) => name))
          const fields: [string, unknown][] = Object.entries(good).filter(([name]) => !removed.has(name))
          for (const [name, value, remove] of changes) if (!remove && value !== undefined) fields.push([name, value])
          const text = `{${fields.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`).join(',')}}`
          const record = JSON.parse(text) as Record<string, unknown>
          const onlyKnown = Object.keys(record).every((name) => Object.hasOwn(schema.shape, name))
          expect([text, shape?.(record)]).toEqual([text, schema.safeParse(record).success && onlyKnown])
        }),
        { numRuns: 2_000 },
      )
    }
  })

  it('leaves to zod what it does not know', () => {
    const unknown = [
      z.object({ at: z.string().transform(Number) }),
      z.object({ at: z.string().default('x') }),
      z.object({ at: z.email() }),
      z.object({ at: z.string() }).refine(() => false),
      z.strictObject({ at: z.string() }),
      z.object({ at: z.string().trim() }),
      z.object({ at: z.coerce.number() }),
      z.object({ at: z.int32() }),
      z.object({ at: z.number().multipleOf(2) }),
    ]
    for (const schema of unknown) expect(shapeOf(schema)).toBeUndefined()
  })
})

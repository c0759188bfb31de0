import { describe, expect, it } from 'vitest'
import { usageOf } from '../test/contract/bus-events.ts'
import { decodeBatch, encode } from './decode.ts'

const at = (value: string | Uint8Array | null, schema?: string) => ({ offset: 7n, value, schema })
const reasons = async (...records: ReturnType<typeof at>[]) => (await decodeBatch('usage.v1', 3, records, 1_000)).rejects.map(({ reason }) => reason)

describe('decodeBatch', () => {
  it('gives back what was encoded, from text and from bytes, in order', async () => {
    const events = [usageOf('a', 1), usageOf('ключ 👩‍👧', 2), usageOf('c', 3)]
    const texts = events.map((event) => encode('usage.v1', event))
    const decoded = await decodeBatch('usage.v1', 0, [at(texts[0] ?? ''), at(Buffer.from(texts[1] ?? ''), 'usage.v1'), at(new TextEncoder().encode(texts[2]))], 0)
    expect(decoded).toEqual({ records: events, rejects: [] })
  })

  it('drops fields that the schema does not know: a newer producer must not stop an older reader', async () => {
    const { records } = await decodeBatch('usage.v1', 0, [at(JSON.stringify({ ...usageOf('a', 1), new_field: 'x' }))], 0)
    expect(records).toEqual([usageOf('a', 1)])
  })

  it('names the reason of each refusal', async () => {
    const good = usageOf('a', 1)
    expect(await reasons(at('{'), at(''), at(Buffer.from([0xff, 0xfe])))).toEqual(['invalid-json', 'invalid-json', 'invalid-json'])
    expect(await reasons(at(null), at(JSON.stringify(good), 'usage.v2'))).toEqual(['empty-record', 'wrong-schema'])
    const wrong = [
      null,
      7,
      'text',
      [],
      {},
      { ...good, event_id: 'ABC' },
      { ...good, input_tokens: -1 },
      { ...good, input_tokens: 1.5 },
      { ...good, cost_usd: 0.1 },
      { ...good, outcome: 'fine' },
    ]
    expect(new Set(await reasons(...wrong.map((value) => at(JSON.stringify(value)))))).toEqual(new Set(['schema-mismatch']))
  })

  it('measures a foreign body, never copies it, and gives it the same id each time', async () => {
    const secret = 'sk-proj-0123456789abcdef'
    const read = () => decodeBatch('usage.v1', 3, [at(`{"key":"${secret}"`), at(JSON.stringify({ [secret]: secret }))], 5)
    const { rejects } = await read()
    expect(JSON.stringify(rejects)).not.toContain(secret)
    expect(rejects[0]).toMatchObject({ source: 'bus', source_stream: 'usage.v1/3', stage: 'bus', topic: 'usage.v1', payload: null, size_bytes: 33, received_at: 5 })
    expect((await read()).rejects.map(({ reject_id }) => reject_id)).toEqual(rejects.map(({ reject_id }) => reject_id))
    expect(rejects[0]?.detail).toContain('offset 7')
  })

  it('takes a deletion on a compacted topic for what it is', async () => {
    expect(await decodeBatch('progress.v1', 0, [at(null)], 0)).toEqual({ records: [], rejects: [] })
  })

  it('stays far below the time that a pipeline of 40,000 events a second can spare', async () => {
    const stored = Array.from({ length: 5_000 }, (_, n) => at(encode('usage.v1', usageOf('a', n))))
    await decodeBatch('usage.v1', 0, stored, 0)
    const before = process.cpuUsage()
    await decodeBatch('usage.v1', 0, stored, 0)
    const { user, system } = process.cpuUsage(before)
    expect((user + system) / stored.length).toBeLessThan(60) // microseconds; measured 8 to 10
  })
})

describe('encode', () => {
  it('names the topic of a value that JSON cannot say', () => {
    expect(() => encode('usage.v1', { n: 1n })).toThrow('usage.v1')
  })
})

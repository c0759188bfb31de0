import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type NewRecord, packRows, type Row, unpackRow } from './embedded-rows.ts'

const valuesOf = (rows: readonly Row[], id: number): string[] => rows.filter((row) => row.id === id).flatMap((row) => unpackRow(row))
const record = (id: number, value: string, key: string | null = null): NewRecord => ({ id, key, value })

describe('rows of the bus file', () => {
  it('give back every record, in the order of its partition', () => {
    const sizes = fc.constantFrom(0, 1, 20, 700, 15_999, 16_000, 70_000, 130_000)
    const values = fc.oneof(
      fc.string({ unit: 'grapheme' }),
      fc.constantFrom('', '\n', 'a\n', '\nb', 'x\r', '\u2028', '{"a":"\\n"}'),
      sizes.map((size) => 'ü'.repeat(size)),
    )
    const records = fc.array(fc.record({ id: fc.integer({ min: 1, max: 3 }), key: fc.option(fc.constantFrom('k', 'l'), { freq: 8 }), value: values }), { maxLength: 40 })
    fc.assert(
      fc.property(records, (given) => {
        const rows = packRows(given)
        for (const id of [1, 2, 3]) {
          const of = given.filter((one) => one.id === id)
          expect(valuesOf(rows, id)).toEqual(of.map(({ value }) => value))
          expect(rows.filter((row) => row.id === id).reduce((sum, row) => sum + row.records, 0)).toBe(of.length)
        }
        // What has a key can be taken out by itself.
        expect(rows.filter(({ key }) => key !== null).map(({ key, ...row }) => [key, unpackRow(row)])).toEqual(
          expect.arrayContaining(given.filter(({ key }) => key !== null).map(({ key, value }) => [key, [value]])),
        )
        expect(rows.every(({ key, records: count }) => key === null || count === 1)).toBe(true)
      }),
      { numRuns: 300 },
    )
  })

  it('hold so much and no more', () => {
    expect(packRows(Array.from({ length: 1_001 }, () => record(1, '{}'))).map(({ records }) => records)).toEqual([500, 500, 1])
    const large = packRows(Array.from({ length: 5 }, () => record(1, 'x'.repeat(50_000))))
    expect(large.map(({ records }) => records)).toEqual([2, 2, 1])
    expect(packRows([record(1, 'x'.repeat(5_000_000))]).map(({ records }) => records)).toEqual([1])
  })

  it('are text while they are short, and small when they are long', () => {
    const line = JSON.stringify({ event_time: 1_760_000_000_000, provider: 'openai', operation: 'chat', model: 'gpt-4o', input_tokens: null })
    expect(packRows([record(1, line), record(1, line)])[0]?.value).toBe(`${line}\n${line}`)
    const [long] = packRows(Array.from({ length: 300 }, () => record(1, line)))
    expect(long?.value).toBeInstanceOf(Uint8Array)
    expect(long?.value.length).toBeLessThan(line.length * 30)
  })

  it('tell that they are damaged', () => {
    const [row] = packRows(Array.from({ length: 400 }, (_, n) => record(1, `{"a number of its own":${n}}`.repeat(3))))
    const bytes = Buffer.from(row?.value as Uint8Array)
    for (const at of [0, 6, Math.floor(bytes.length / 2), bytes.length - 1]) {
      const damaged = Buffer.from(bytes)
      damaged[at] = (damaged[at] ?? 0) ^ 0x10
      expect(() => unpackRow({ records: 400, value: damaged }), `byte ${at}`).toThrow()
    }
    expect(() => unpackRow({ records: 400, value: bytes.subarray(0, -20) })).toThrow()
    expect(() => unpackRow({ records: 3, value: 'a\nb' })).toThrow('3 records has 2 lines')
  })
})

/** What every format must do, whatever it reads. The registry gives the formats, their `cases/` the examples. */
import * as fc from 'fast-check'
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import type { Format, Verdict } from '../../ingest/format.ts'
import type { FormatEntry } from '../../ingest/formats/index.ts'
import { createPipeline } from '../../ingest/pipeline.ts'
import type { RawRecord } from '../../ingest/source.ts'
import { topics } from '../../schemas/topics.ts'
import { noPrices } from '../support/ingest.ts'

interface Case {
  name: string
  /** Config of the format; absent: {}. */
  config?: unknown
  /** Time of reading; absent: shortly after the record. */
  now?: number
  record: RawRecord
  expected: Verdict
}

const LATER_MS = 60_000

export function formatContract(entry: FormatEntry): void {
  const cases = casesOf(entry.id)
  const opened = (config: unknown = {}): Format => entry.open(config)
  const verdictOf = (format: Format, record: RawRecord, now: number): Verdict => format.parse(record, { json: jsonOf(record.body), now, occurrence: counted() })

  describe(`format ${entry.id}`, () => {
    it('has an example that its config accepts', () => {
      expect(() => opened(entry.example)).not.toThrow()
    })

    it('has at least three case pairs, one malformed and one foreign', () => {
      expect(cases.length).toBeGreaterThanOrEqual(3)
      expect(cases.some(({ expected }) => expected.kind === 'accept')).toBe(true)
      expect(cases.some(({ expected }) => expected.kind === 'reject')).toBe(true)
      expect(cases.some(({ expected }) => expected.kind === 'skip')).toBe(true)
    })

    it.each(cases.map((one) => [one.name, one] as const))('%s', (_name, { config, now, record, expected }) => {
      const format = opened(config)
      const at = now ?? record.at + LATER_MS
      const verdict = verdictOf(format, record, at)
      // Through JSON: a case cannot hold `undefined`.
      expect(JSON.parse(JSON.stringify(verdict))).toEqual(expected)
      expect(verdictOf(format, record, at), 'the same input gives the same verdict').toEqual(verdict)
    })

    it.each(cases.filter(({ expected }) => expected.kind === 'accept').map((one) => [one.name, one] as const))(
      'gives whole events: %s',
      (_name, { config, now, record, expected }) => {
        const pipeline = createPipeline({
          formats: [opened(config)],
          hash_key: 'a-key-for-tests-only',
          attribution: [],
          rater: noPrices,
          privacy: { truncate_ip: 'none', user_ids: 'keep' },
        })
        const outcome = pipeline.process(record, { now: now ?? record.at + LATER_MS, run_id: null, occurrence: counted() })
        if (outcome.kind !== 'accept' || expected.kind !== 'accept') throw new Error(`not accepted: ${JSON.stringify(outcome)}`)
        expect(outcome.rejects).toEqual([])
        expect(outcome.events.map(({ topic }) => topic)).toEqual(expected.events.map(({ topic }) => topic))
        // As text: the order of the fields is that of the schema, too.
        for (const { topic, event } of outcome.events) expect(JSON.stringify(topics[topic].schema.parse(event))).toBe(JSON.stringify(event))
      },
    )

    const formats = [...new Map(cases.map(({ config }) => [JSON.stringify(config ?? {}), config])).values()].map((config) => opened(config))
    const bodies = cases.map(({ record }) => record.body)

    it('always has a verdict: any text', () => {
      fc.assert(
        fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.string({ unit: 'grapheme' }), cutOrSpoiled(bodies)), fc.double(), (body, at) => {
          for (const format of formats) expectVerdict(verdictOf(format, recordOf(body, at), NOW))
        }),
        { numRuns: 300 },
      )
    })

    it('always has a verdict: any JSON, and its own cases with any value in any place', () => {
      const values = bodies.flatMap((body): unknown[] => (jsonOf(body) === undefined ? [] : [jsonOf(body)]))
      fc.assert(
        fc.property(fc.oneof(fc.jsonValue(), ...values.map((value) => spoiled(value))), (value) => {
          for (const format of formats) expectVerdict(verdictOf(format, recordOf(JSON.stringify(value), NOW), NOW))
        }),
        { numRuns: 400 },
      )
    })
  })
}

const NOW = Date.UTC(2026, 2, 2, 12)

function expectVerdict(verdict: Verdict): void {
  if (verdict.kind === 'accept') expect(verdict.events.length + (verdict.fragments?.length ?? 0)).toBeGreaterThan(0)
  else expect(verdict.why).toMatch(/^[a-z0-9]+(?:-[a-z0-9]+)*$/)
}

function casesOf(id: string): Case[] {
  const folder = new URL(`../../ingest/formats/${id}/cases/`, import.meta.url)
  return readdirSync(fileURLToPath(folder))
    .filter((name) => name.endsWith('.json'))
    .sort()
    .map((name) => JSON.parse(readFileSync(new URL(name, folder), 'utf8')) as Case)
}

function jsonOf(body: string): unknown {
  try {
    const value: unknown = JSON.parse(body)
    return typeof value === 'object' && value !== null ? value : undefined
  } catch {
    return undefined
  }
}

const recordOf = (body: string, at: number): RawRecord => ({ id: '1', at, ingested_at: null, body, origin: { source: 'file', stream: 'fuzz' } })

function counted(): (key: string) => number {
  const seen = new Map<string, number>()
  return (key) => {
    const count = seen.get(key) ?? 0
    seen.set(key, count + 1)
    return count
  }
}

const cutOrSpoiled = (bodies: readonly string[]): fc.Arbitrary<string> =>
  fc.tuple(fc.constantFrom(...bodies), fc.nat(), fc.string({ maxLength: 3 })).map(([body, at, put]) => {
    const place = at % (body.length + 1)
    return put === '' ? body.slice(0, place) : body.slice(0, place) + put + body.slice(place + 1)
  })

/** The value with one part of it replaced by anything: wrong types where a format expects text, numbers or objects. */
function spoiled(value: unknown): fc.Arbitrary<unknown> {
  const paths = pathsOf(value, [])
  const hostile = fc.constantFrom<unknown>(null, -1, 1e308, Number.MAX_SAFE_INTEGER, '', 'constructor', '__proto__', '\ud800', [], {}, [[]], 'x'.repeat(5000))
  return fc.tuple(fc.constantFrom(...paths), fc.oneof(hostile, fc.jsonValue())).map(([path, put]) => replaced(value, path, put))
}

function pathsOf(value: unknown, path: readonly string[]): (readonly string[])[] {
  if (typeof value !== 'object' || value === null) return [path]
  return [path, ...Object.entries(value).flatMap(([name, part]) => pathsOf(part, [...path, name]))]
}

function replaced(value: unknown, path: readonly string[], put: unknown): unknown {
  const [name, ...rest] = path
  if (name === undefined) return put
  if (Array.isArray(value)) return value.map((part: unknown, index) => (String(index) === name ? replaced(part, rest, put) : part))
  return Object.fromEntries(Object.entries(value as object).map(([key, part]) => [key, key === name ? replaced(part, rest, put) : (part as unknown)]))
}

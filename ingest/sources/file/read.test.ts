import { mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { gzipSync } from 'node:zlib'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { silentLogger } from '../../../runtime/log.ts'
import type { RawRecord } from '../../source.ts'
import { type ContainerChoice, detectContainer } from './container.ts'
import { readInput, readOnce } from './read.ts'
import { jsonSplitter, lineSplitter, type Piece, rowSplitter, type Splitter } from './split.ts'

const folder = await mkdtemp(join(tmpdir(), 'tokenwatch-'))
let files = 0

async function recordsOf(content: string | Buffer, name = 'x.log', container: ContainerChoice = 'auto'): Promise<RawRecord[]> {
  const path = join(folder, `${files++}-${name}`)
  await writeFile(path, content)
  const records: RawRecord[] = []
  for await (const page of readOnce(path, undefined, { container, log: silentLogger }, new AbortController().signal)) records.push(...page.records)
  return records
}
const bodiesOf = async (...given: Parameters<typeof recordsOf>): Promise<string[]> => (await recordsOf(...given)).map(({ body }) => body)

const events = [{ n: 1 }, { n: 2, text: 'a "quote", a {brace} and a \\ backslash' }, { n: 3, deep: [[{ m: [1] }]] }]
const lines = events.map((event) => JSON.stringify(event))
const envelope = {
  messageType: 'DATA_MESSAGE',
  owner: '111122223333',
  logGroup: '/aws/lambda/chat',
  logStream: '2026/03/02/[1]aa',
  subscriptionFilters: ['all'],
  logEvents: lines.map((message, index) => ({ id: `5${index}`, timestamp: 1772445600000 + index, message })),
}

describe('containers', () => {
  it.each([
    ['JSON lines', lines.join('\n') + '\n', 'a.jsonl'],
    ['a last line without a line feed', lines.join('\n'), 'a.jsonl'],
    ['CRLF and empty lines', lines.join('\r\n\r\n') + '\r\n', 'a.jsonl'],
    ['a byte order mark', `\ufeff${lines.join('\n')}\n`, 'a.jsonl'],
    ['a JSON array', JSON.stringify(events), 'a.json'],
    ['a pretty-printed JSON array', JSON.stringify(events, null, 2), 'a.json'],
    ['a JSON array with a byte order mark', `\ufeff${JSON.stringify(events, null, '\t')}\r\n`, 'a.json'],
    ['{"Records":[…]} on one line', JSON.stringify({ Records: events }), 'a.json'],
    ['{"Records":[…]} pretty-printed, with other members', JSON.stringify({ Records: events, more: [{ n: 9 }] }, null, 1), 'a.json'],
    ['pretty-printed values one behind the other', events.map((event) => JSON.stringify(event, null, 2)).join('\n'), 'a.json'],
    ['a subscription envelope', JSON.stringify(envelope), 'a.json'],
    ['a subscription envelope, pretty-printed', JSON.stringify(envelope, null, 2), 'a.json'],
    ['a subscription envelope as gzip in base64', gzipSync(JSON.stringify(envelope)).toString('base64'), 'a.txt'],
    ['a Lambda event with an envelope', JSON.stringify({ awslogs: { data: gzipSync(JSON.stringify(envelope)).toString('base64') } }), 'a.json'],
    ['a Kinesis batch', JSON.stringify({ Records: [{ kinesis: { data: gzipSync(JSON.stringify(envelope)).toString('base64') } }] }), 'a.json'],
  ])('%s', async (_name, content, name) => {
    const expected = events.map((event) => JSON.stringify(event))
    const compact = (bodies: string[]): string[] => bodies.map((body) => JSON.stringify(JSON.parse(body)))
    expect(compact(await bodiesOf(content, name))).toEqual(expected)
    expect(compact(await bodiesOf(gzipSync(content), `${name}.gz`)), 'the same in gzip').toEqual(expected)
  })

  it('lines of an application that begin with records of its own stay whole', async () => {
    const own = events.map((event) => JSON.stringify({ records: [{ sku: 7 }], response: event }))
    expect(await bodiesOf(`${own.join('\n')}\n`, 'a.jsonl')).toEqual(own)
    const batches = events.map((event) => JSON.stringify({ Records: [event] }))
    expect(await bodiesOf(`${batches.join('\n')}\n`, 'a.jsonl')).toEqual(lines)
  })

  it('keeps id, time and log group of an envelope, and takes no record from a control message', async () => {
    const [first] = await recordsOf(`${JSON.stringify({ ...envelope, messageType: 'CONTROL_MESSAGE' })}\n${JSON.stringify(envelope)}\n`)
    expect(first).toMatchObject({ id: '50', at: 1772445600000, origin: { source: 'file', stream: '/aws/lambda/chat 2026/03/02/[1]aa' } })
  })

  it('CSV: quotes, line feeds in cells, another delimiter, a repeated header', async () => {
    const csv = 'time;"the ""name""";tokens\r\n1;"a;b\nc";3\r\ntime;"the ""name""";tokens\r\n2;x;4'
    expect((await bodiesOf(csv, 'a.csv')).map((body) => JSON.parse(body) as unknown)).toEqual([
      { time: '1', 'the "name"': 'a;b\nc', tokens: '3' },
      { time: '2', 'the "name"': 'x', tokens: '4' },
    ])
  })

  it('CSV that was cut behind its header gives its cells', async () => {
    expect(await bodiesOf('2023-11-16 18:17:03.9799600,4808,10\n2023-11-16 18:17:04.0319600,3180,8', 'x.part2.csv')).toEqual([
      '["2023-11-16 18:17:03.9799600","4808","10"]',
      '["2023-11-16 18:17:04.0319600","3180","8"]',
    ])
  })

  it('CSV: a quote that never closes does not swallow the rest', async () => {
    const bodies = await bodiesOf(`a,b\n"x,1\n${'y,2\n'.repeat(100_000)}`, 'a.csv')
    expect(bodies.length).toBe(100_001)
    expect(bodies.at(-1)).toBe('{"a":"y","b":"2"}')
  })

  it('a cut JSON array gives its whole elements and the rest as it is', async () => {
    const cut = JSON.stringify(events).slice(0, -8)
    const bodies = await bodiesOf(cut)
    expect(bodies.slice(0, 2)).toEqual(lines.slice(0, 2))
    expect(bodies.length).toBe(3)
    expect(() => JSON.parse(bodies[2] ?? '') as unknown).toThrow()
  })

  it('a cut gzip file gives what can be read', async () => {
    const many = Array.from({ length: 20_000 }, (_, index) => JSON.stringify({ n: index, salt: Math.sin(index) }))
    const packed = gzipSync(many.join('\n'))
    const bodies = await bodiesOf(packed.subarray(0, packed.length / 2), 'a.jsonl.gz')
    expect(bodies.length).toBeGreaterThan(5_000)
    expect(bodies.slice(0, 5_000)).toEqual(many.slice(0, 5_000))
  })

  it('lines of text are lines, also those that begin with a bracket', async () => {
    const text = '[INFO] started, all well\n[2026-03-02] next\n{not json\nSTART RequestId: 1\n'
    expect(await bodiesOf(text)).toEqual(text.trimEnd().split('\n'))
  })

  it('a line of many megabytes is cut, the next ones are read', async () => {
    const bodies = await bodiesOf(`${lines[0]}\n${'x'.repeat(20_000_000)}\n${lines[1]}\n`)
    expect(bodies.length).toBe(3)
    expect(bodies[1]?.length).toBeLessThan(2_000_000)
    expect(bodies[2]).toBe(lines[1])
  })

  it('reads standard input', async () => {
    const bodies: string[] = []
    for await (const page of readInput(Readable.from([Buffer.from(lines.join('\n'))]), { container: 'auto', log: silentLogger }, new AbortController().signal))
      bodies.push(...page.records.map(({ body }) => body))
    expect(bodies).toEqual(lines)
  })

  it('a file that is not there is named', async () => {
    await expect(recordsOfPath(join(folder, 'nothing.jsonl'))).rejects.toThrow('nothing.jsonl does not exist')
    await expect(recordsOfPath(folder)).rejects.toThrow('is a folder')
  })
})

async function recordsOfPath(path: string): Promise<void> {
  for await (const page of readOnce(path, undefined, { container: 'auto', log: silentLogger }, new AbortController().signal)) expect(page).toBeDefined()
}

describe('splitters do not care where chunks end', () => {
  const cut = (content: Buffer, sizes: readonly number[], splitter: Splitter): Piece[] => {
    const pieces: Piece[] = []
    let at = 0
    for (const size of sizes) {
      pieces.push(...splitter.push(content.subarray(at, at + size)))
      at += size
    }
    return [...pieces, ...splitter.push(content.subarray(at)), ...splitter.finish()]
  }
  const kinds: [string, () => Splitter, fc.Arbitrary<string>][] = [
    ['lines', () => lineSplitter(0), fc.array(fc.string({ unit: 'grapheme' })).map((list) => list.join('\n'))],
    ['rows', () => rowSplitter(0), fc.array(fc.array(fc.oneof(fc.string(), fc.constant('"a\n""b"'))).map((cells) => cells.join(','))).map((rows) => rows.join('\n'))],
    ['JSON', () => jsonSplitter(0, false), fc.array(fc.jsonValue()).map((list) => JSON.stringify(list))],
    ['Records', () => jsonSplitter(0, true), fc.array(fc.jsonValue()).map((list) => JSON.stringify({ Records: list }))],
  ]
  it.each(kinds)('%s', (_name, make, content) => {
    fc.assert(
      fc.property(content, fc.array(fc.integer({ min: 0, max: 9 })), (text, sizes) => {
        const bytes = Buffer.from(text)
        const whole = cut(bytes, [], make())
        expect(cut(bytes, sizes, make())).toEqual(whole)
        for (const piece of whole) expect(piece.end).toBeLessThanOrEqual(bytes.length)
      }),
    )
  })
  it('JSON elements are those of the array', () => {
    fc.assert(
      fc.property(fc.array(fc.jsonValue()), fc.boolean(), (list, wrapped) => {
        const text = JSON.stringify(wrapped ? { Records: list } : list, null, 1)
        expect(cut(Buffer.from(text), [], jsonSplitter(0, wrapped)).map((piece) => JSON.parse(piece.text) as unknown)).toEqual(JSON.parse(JSON.stringify(list)))
      }),
    )
  })
})

it('detects containers by their first bytes', () => {
  expect(detectContainer('a,b,c\n1,2,3\n', 'x.txt')).toMatchObject({ kind: 'csv', header: ['a', 'b', 'c'] })
  expect(detectContainer('hello, world\nno header here\n', 'x.txt').kind).toBe('lines')
  expect(detectContainer('{"a":1}\n{"a":2}\n', 'x.txt').kind).toBe('lines')
  expect(detectContainer('{"a":1', 'x.txt').kind).toBe('lines')
})

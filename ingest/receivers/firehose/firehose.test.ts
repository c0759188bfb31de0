import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import type { HttpRequest } from '../../../runtime/http.ts'
import { ManualClock } from '../../../test/support/ingest.ts'
import { firehose } from './index.ts'

const receiver = firehose.create({}, { id: 'aws', clock: new ManualClock(1_772_452_800_000), max_unpacked_bytes: 100_000 })
const request = { headers: { 'x-amz-firehose-request-id': 'r-1', 'x-amz-firehose-access-key': 'shown' } } as unknown as HttpRequest
const read = (...parts: (Buffer | string)[]) =>
  receiver.read(request, Buffer.from(JSON.stringify({ requestId: 'r-1', timestamp: 1, records: parts.map((part) => ({ data: Buffer.from(part).toString('base64') })) })))
const envelope = (type: string, ...messages: string[]) =>
  JSON.stringify({
    messageType: type,
    owner: '1',
    logGroup: '/app',
    logStream: 'pod',
    logEvents: messages.map((message, index) => ({ id: `${index}`, timestamp: 5 + index, message })),
  })

describe('Firehose', () => {
  it('gives each log event with the id, the time and the stream of CloudWatch', async () => {
    expect(await read(gzipSync(envelope('DATA_MESSAGE', 'a', 'b')))).toEqual({
      records: [
        { id: '0', at: 5, ingested_at: null, body: 'a', origin: { source: 'firehose', stream: '/app pod' } },
        { id: '1', at: 6, ingested_at: null, body: 'b', origin: { source: 'firehose', stream: '/app pod' } },
      ],
      broken: [],
    })
  })
  it('passes over control messages', async () => {
    expect(await read(gzipSync(envelope('CONTROL_MESSAGE', 'CWL CONTROL MESSAGE: Checking health of destination Firehose.')))).toEqual({ records: [], broken: [] })
  })
  it('reads what Firehose has unpacked already: envelopes one behind the other, and plain lines', async () => {
    const text = envelope('DATA_MESSAGE', 'x}{"messageType":') + envelope('DATA_MESSAGE', 'y')
    expect((await read(text)).records.map(({ body }) => body)).toEqual(['x}{"messageType":', 'y'])
    const lines = await read('{"n":1}\n{"n":2}\n\n', '{"n":3}')
    expect(lines.records.map(({ id, body }) => [id, body])).toEqual([
      ['r-1 0.0.0', '{"n":1}'],
      ['r-1 0.1.0', '{"n":2}'],
      ['r-1 1.0.0', '{"n":3}'],
    ])
    expect(lines.records[0]?.origin.stream).toBe('aws')
  })
  it('names each part that is none', async () => {
    const body = Buffer.from(JSON.stringify({ requestId: 'r-1', records: [{ data: '{"n":1}' }, {}, null, { data: 7 }] }))
    expect((await receiver.read(request, body)).broken.map(({ why, record }) => [why, record.id])).toEqual([
      ['bad-envelope', 'r-1 0'],
      ['bad-envelope', 'r-1 1'],
      ['bad-envelope', 'r-1 2'],
      ['bad-envelope', 'r-1 3'],
    ])
  })
  it('stops unpacking when all parts together are too much', async () => {
    const parts = Array.from({ length: 12 }, () => gzipSync(Buffer.alloc(90_000, 0x61)))
    const { records, broken } = await read(...parts)
    expect([records.length, broken.length]).toEqual([8, 4])
  })
  it.each([['[]'], ['{}'], ['{"records":{}}'], ['no json']])('refuses %s', async (body) => {
    await expect(receiver.read(request, Buffer.from(body))).rejects.toMatchObject({ status: 400 })
  })
  it('answers as Firehose wants it', () => {
    const accepted = { records: 1, accepted: 1, skipped: {}, rejected: {} }
    expect(receiver.answer(request, null, { accepted })).toEqual({ json: { requestId: 'r-1', timestamp: 1_772_452_800_000 } })
    expect(receiver.answer(request, null, { status: 503, error: 'busy' })).toEqual({ status: 503, json: { requestId: 'r-1', timestamp: 1_772_452_800_000, errorMessage: 'busy' } })
    expect(receiver.token(request)).toBe('shown')
  })
})

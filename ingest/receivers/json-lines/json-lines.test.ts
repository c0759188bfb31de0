import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import type { HttpRequest } from '../../../runtime/http.ts'
import { ManualClock } from '../../../test/support/ingest.ts'
import { jsonLines } from './index.ts'

const receiver = jsonLines.create({}, { id: 'shippers', clock: new ManualClock(1_772_452_800_000), max_unpacked_bytes: 100_000 })
const read = (body: Buffer | string, headers: Record<string, string> = {}) => receiver.read({ headers } as unknown as HttpRequest, Buffer.from(body))
const bodiesOf = async (body: Buffer | string, headers?: Record<string, string>) => (await read(body, headers)).records.map((record) => record.body)

describe('JSON lines', () => {
  it('takes lines, plain or gzip, whatever the header says of it', async () => {
    const lines = '{"n":1}\r\n\n{"n":2}\ntext\n'
    const wanted = ['{"n":1}', '{"n":2}', 'text']
    expect(await bodiesOf(lines)).toEqual(wanted)
    expect(await bodiesOf(gzipSync(lines))).toEqual(wanted)
    expect(await bodiesOf(gzipSync(lines), { 'content-encoding': 'gzip' })).toEqual(wanted)
    // A proxy has unpacked it and left the header.
    expect(await bodiesOf(lines, { 'content-encoding': 'gzip' })).toEqual(wanted)
  })

  it.each([
    ['deflate', deflateSync],
    ['zstd', zstdCompressSync],
    ['br', brotliCompressSync],
  ] as const)('refuses %s instead of taking it for lines of nobody', async (encoding, pack) => {
    await expect(read(pack('{"n":1}\n'.repeat(50)), { 'content-encoding': encoding })).rejects.toMatchObject({ status: 400, message: expect.stringContaining(encoding) as string })
  })

  it.each([
    ['MessagePack', Buffer.from([0x92, 0xcf, 0x17, 0x82, 0x81, 0xa1, 0x6e, 0x01])],
    ['UTF-16', Buffer.from('\uFEFF{"n":1}\n', 'utf16le')],
    ['zlib without a header', deflateSync('{"n":1}\n'.repeat(50))],
  ])('refuses %s', async (_name, body) => {
    await expect(read(body)).rejects.toMatchObject({ status: 400, message: expect.stringContaining('UTF-8') as string })
  })

  it('takes the rest of a body with a broken character', async () => {
    expect(await bodiesOf(Buffer.concat([Buffer.from('{"n":1}\n{"n":"'), Buffer.from([0xff]), Buffer.from('"}\n{"n":3}\n')]))).toHaveLength(3)
  })
})

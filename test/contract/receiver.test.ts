import { gzipSync } from 'node:zlib'
import { expect, it } from 'vitest'
import { receivers, receiversConfig } from '../../ingest/receivers/index.ts'
import { type ReceiverHarness, receiverContract } from './receiver.ts'

/** A subscription's envelope, as CloudWatch Logs packs it for Firehose. */
const envelope = (lines: readonly string[], id: string): Buffer =>
  gzipSync(
    JSON.stringify({
      messageType: 'DATA_MESSAGE',
      owner: '123456789012',
      logGroup: '/app/chat',
      logStream: 'pod-1',
      subscriptionFilters: ['tokenwatch'],
      logEvents: lines.map((message, index) => ({ id: `${id}-${index}`.padStart(56, '0'), timestamp: 1_772_452_800_000 + index, message })),
    }),
  )
const control = gzipSync(
  JSON.stringify({
    messageType: 'CONTROL_MESSAGE',
    owner: 'CloudwatchLogs',
    logGroup: '',
    logStream: '',
    subscriptionFilters: [],
    logEvents: [{ id: '', timestamp: 0, message: 'CWL CONTROL MESSAGE: Checking health of destination Firehose.' }],
  }),
)

const request = (parts: readonly Buffer[], id: string) => ({
  body: Buffer.from(JSON.stringify({ requestId: id, timestamp: 1_772_452_800_000, records: parts.map((part) => ({ data: part.toString('base64') })) })),
  headers: { 'content-type': 'application/json', 'x-amz-firehose-request-id': id, 'x-amz-firehose-protocol-version': '1.0' },
})

const harnesses: Readonly<Record<string, ReceiverHarness>> = {
  firehose: {
    pack: (lines, id) => request([control, envelope(lines, id)], id),
    packBroken: ([first = '', ...rest], broken, id) => request([envelope([first], `${id} a`), broken, envelope(rest, `${id} b`)], id),
    shown: (token) => ({ 'x-amz-firehose-access-key': token }),
  },
  'json-lines': {
    pack: (lines) => ({ body: Buffer.from(lines.map((line) => `${line}\n`).join('')), headers: {} }),
    packBroken: ([first = '', ...rest], broken) => ({ body: gzipSync(`${first}\n${broken.toString('base64')}\n${rest.join('\n')}`), headers: {} }),
    shown: (token) => ({ authorization: `Bearer ${token}` }),
  },
}

it('has a harness for every receiver of the registry', () => {
  expect(Object.keys(harnesses).sort()).toEqual(receivers.map(({ id }) => id).sort())
})

it('checks the list of the config', () => {
  const token = { env: 'X' }
  const one = { id: 'a', kind: 'firehose', token }
  expect(receiversConfig.parse(undefined)).toEqual([])
  expect(receiversConfig.safeParse([one, { id: 'b', kind: 'json-lines', token, path: '/receive/a' }]).error?.issues[0]?.message).toContain('same path')
  expect(receiversConfig.safeParse([one, one]).success).toBe(false)
  for (const path of ['/query', '/receive/', '/receive/a/b', 'receive/a', '/receive/../query']) expect(receiversConfig.safeParse([{ ...one, path }]).success).toBe(false)
  expect(receiversConfig.safeParse([{ id: 'a', kind: 'firehose' }]).success).toBe(false)
})

for (const [kind, harness] of Object.entries(harnesses)) receiverContract(kind, harness)

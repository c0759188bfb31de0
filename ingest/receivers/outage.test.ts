/** The bus is away, the sender goes away, too many come at once: nothing is acknowledged that is not durable, and nothing is lost. */
import { connect } from 'node:net'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Clock, systemClock } from '../../runtime/clock.ts'
import { TransientError } from '../../runtime/errors.ts'
import { createHttpServer, type HttpServer } from '../../runtime/http.ts'
import { silentLogger } from '../../runtime/log.ts'
import type { TopicName } from '../../schemas/topics.ts'
import { chatLine, madeUpKey } from '../../test/e2e/log-lines.ts'
import { MemoryBus, noPrices } from '../../test/support/ingest.ts'
import { createFormats } from '../formats/index.ts'
import { createPipeline } from '../pipeline.ts'
import { receiverRoutes, receiversConfig } from './index.ts'

const TOKEN = 'a-token-for-tests-only'
const BUS_LIMIT_MS = 25_000
const memory = new MemoryBus()
const bus = { is_away: false, hold: undefined as Promise<void> | undefined, limit: 200 }
// The limit of the bus passes in a moment, everything else takes its time.
const clock: Clock = { now: () => systemClock.now(), sleep: (ms, signal) => systemClock.sleep(ms === BUS_LIMIT_MS ? bus.limit : ms, signal) }
let server: HttpServer

beforeAll(async () => {
  process.env['TW_OUTAGE_TOKEN'] = TOKEN
  const publish = async (topic: TopicName, values: never[]): Promise<void> => {
    await bus.hold
    if (bus.is_away) throw new TransientError('the bus is away')
    await memory.bus.publish(topic, values)
  }
  const pipeline = createPipeline({
    formats: createFormats(),
    hash_key: 'a-key-for-tests-only',
    attribution: [],
    rater: noPrices,
    privacy: { truncate_ip: 'none', user_ids: 'keep' },
  })
  const config = receiversConfig.parse([
    { id: 'cloudwatch', kind: 'firehose', token: { env: 'TW_OUTAGE_TOKEN' } },
    { id: 'shippers', kind: 'json-lines', token: { env: 'TW_OUTAGE_TOKEN' } },
  ])
  server = await createHttpServer({ listen: '127.0.0.1:0', clock: systemClock, log: silentLogger })
  server.routes(receiverRoutes(config, { pipeline, bus: { publish } as never, clock, log: silentLogger }))
})
afterAll(() => server.close())
beforeEach(() => {
  Object.assign(bus, { is_away: false, hold: undefined, limit: 200 })
  memory.published.length = 0
})

const line = (id: string) => chatLine({ id, at: systemClock.now() - 1000, key: madeUpKey('one') })
const lines = (text: string) => fetch(`${server.url}/receive/shippers`, { method: 'POST', headers: { authorization: `Bearer ${TOKEN}` }, body: text })
const firehose = (text: string) =>
  fetch(`${server.url}/receive/cloudwatch`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-amz-firehose-access-key': TOKEN, 'x-amz-firehose-request-id': 'r-1' },
    body: JSON.stringify({ requestId: 'r-1', timestamp: 1, records: [{ data: Buffer.from(text).toString('base64') }] }),
  })

describe('a push while the bus is away', () => {
  it.each([
    ['firehose', firehose],
    ['json-lines', lines],
  ] as const)('%s: 503 in the form of the sender, and everything is there when it is sent again', async (_kind, send) => {
    const text = `${line('a')}\n${line('b')}`
    bus.is_away = true
    const refused = await send(text)
    expect([refused.status, refused.headers.get('retry-after'), refused.headers.get('content-type')]).toEqual([503, '5', 'application/json; charset=utf-8'])
    const said = (await refused.json()) as { errorMessage?: string; error?: string; requestId?: string }
    expect(said.errorMessage ?? said.error).toMatch(/send it again/)
    if (send === firehose) expect(said.requestId).toBe('r-1')
    expect(memory.of('usage.v1')).toEqual([])
    bus.is_away = false
    expect((await send(text)).status).toBe(200)
    const ids = memory.of('usage.v1').map(({ event_id }) => event_id)
    expect(new Set(ids).size).toBe(2)
    expect((await send(text)).status).toBe(200)
    expect(new Set(memory.of('usage.v1').map(({ event_id }) => event_id))).toEqual(new Set(ids))
  })

  it('keeps a bounded number of requests: the others are told to come again, and those that wait are taken', async () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    bus.hold = promise
    bus.limit = 30_000
    const refused: (string | null)[] = []
    const all_refused = Promise.withResolvers<void>()
    const sent = Array.from({ length: 20 }, async (_, n) => {
      const { status, headers } = await lines(line(`many-${n}`))
      if (status === 503 && refused.push(headers.get('retry-after')) === 12) all_refused.resolve()
      return status
    })
    await all_refused.promise
    resolve()
    expect((await Promise.all(sent)).filter((status) => status === 200).length).toBe(8)
    expect(refused).toEqual(Array.from({ length: 12 }, () => '5'))
    expect(new Set(memory.of('usage.v1').map(({ event_id }) => event_id)).size).toBe(8)
  })

  it('takes nothing of a body whose sender goes away in the middle, and goes on', async () => {
    const { port } = new URL(server.url)
    await new Promise<void>((resolve, reject) => {
      const socket = connect(Number(port), '127.0.0.1', () => {
        socket.write(`POST /receive/shippers HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${TOKEN}\r\ncontent-length: 100000\r\n\r\n${line('half')}\n`, () => {
          socket.destroy()
          resolve()
        })
      })
      socket.on('error', reject)
    })
    expect((await lines(line('whole'))).status).toBe(200)
    expect(memory.of('usage.v1').length).toBe(1)
  })
})

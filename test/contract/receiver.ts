/** What every receiver must do, over real HTTP. The harness says how its sender packs records into a request. */
import * as fc from 'fast-check'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createFormats } from '../../ingest/formats/index.ts'
import { createPipeline } from '../../ingest/pipeline.ts'
import { receiverRoutes, receivers, receiversConfig } from '../../ingest/receivers/index.ts'
import { systemClock } from '../../runtime/clock.ts'
import { createHttpServer, type HttpServer } from '../../runtime/http.ts'
import { silentLogger } from '../../runtime/log.ts'
import type { TopicName } from '../../schemas/topics.ts'
import { chatLine, madeUpKey } from '../e2e/log-lines.ts'
import { MemoryBus, noPrices } from '../support/ingest.ts'

export interface PushRequest {
  body: Buffer
  headers: Record<string, string>
}

export interface ReceiverHarness {
  /** A request as its sender makes it, with these log lines. `id` names the request. */
  pack(lines: readonly string[], id: string): PushRequest
  /** The same with one part that cannot be unpacked in the middle. */
  packBroken(lines: readonly string[], broken: Buffer, id: string): PushRequest
  shown(token: string): Record<string, string>
}

export const TOKEN = 'a-token-for-tests-only'
const NOW = Date.UTC(2026, 2, 2, 12)
const MAX_BODY = 200_000

export function receiverContract(kind: string, harness: ReceiverHarness): void {
  const world = { bus: new MemoryBus(), hold: undefined as Promise<void> | undefined }
  let server: HttpServer

  const line = (n: number) => chatLine({ id: `${kind}-${n}`, at: NOW + n, key: madeUpKey('one') })
  const ids = (topic: TopicName = 'usage.v1') => (world.bus.of(topic) as { event_id?: string; reject_id?: string }[]).map((value) => value.event_id ?? value.reject_id ?? '')
  const send = (request: PushRequest, headers = harness.shown(TOKEN)) =>
    fetch(`${server.url}/receive/test`, { method: 'POST', body: new Uint8Array(request.body), headers: { ...request.headers, ...headers } })

  beforeAll(async () => {
    process.env['RECEIVER_TEST_TOKEN'] = TOKEN
    const { bus } = world.bus
    const held = { publish: async (topic: TopicName, values: never[]) => (await world.hold, bus.publish(topic, values)) } as unknown as typeof bus
    const pipeline = createPipeline({
      formats: createFormats(),
      hash_key: 'a-key-for-tests-only',
      attribution: [],
      rater: noPrices,
      privacy: { truncate_ip: 'none', user_ids: 'keep' },
    })
    const config = receiversConfig.parse([{ id: 'test', kind, token: { env: 'RECEIVER_TEST_TOKEN' }, max_body_bytes: MAX_BODY, max_unpacked_bytes: 1_000_000 }])
    server = await createHttpServer({ listen: '127.0.0.1:0', clock: systemClock, log: silentLogger })
    server.routes(receiverRoutes(config, { pipeline, bus: held, clock: systemClock, log: silentLogger }))
  })
  afterAll(() => server.close())

  describe(`receiver ${kind}`, () => {
    it('has an example that its config accepts', () => {
      const entry = receivers.find(({ id }) => id === kind)
      expect(entry?.config.safeParse(entry.example).success).toBe(true)
    })

    it('gives the events of what was pushed', async () => {
      const answer = await send(harness.pack([line(1), line(2)], 'first'))
      expect(answer.status).toBe(200)
      expect(world.bus.of('usage.v1')).toMatchObject([
        { source: kind, input_tokens: 900 },
        { source: kind, input_tokens: 900 },
      ])
    })

    it('gives the same ids when the same is sent again', async () => {
      const before = ids()
      expect((await send(harness.pack([line(1), line(2)], 'first'))).status).toBe(200)
      expect(ids().slice(before.length)).toEqual(before)
    })

    it('tells twins apart, and keeps them apart when they are sent again', async () => {
      const refused = JSON.stringify({ time: '2026-03-02T11:00:00Z', status: 502, method: 'POST', url: 'https://api.openai.com/v1/chat/completions' })
      const twins = async () => {
        const before = ids().length
        expect((await send(harness.pack([refused, refused], 'twins'))).status).toBe(200)
        return ids().slice(before)
      }
      const first = await twins()
      expect(new Set(first).size).toBe(2)
      expect(await twins()).toEqual(first)
    })

    it('answers 200 only after the bus is durable', async () => {
      const { promise, resolve } = Promise.withResolvers<void>()
      world.hold = promise
      let answered = false
      const before = ids().length
      const sending = send(harness.pack([line(3)], 'held')).then((answer) => ((answered = true), answer))
      await systemClock.sleep(150)
      expect([answered, ids().length]).toEqual([false, before])
      world.hold = undefined
      resolve()
      expect((await sending).status).toBe(200)
      expect(ids().length).toBe(before + 1)
    })

    it('publishes again after a bus that failed, and only then says 200', async () => {
      world.bus.fail = { times: 1, written: true }
      const before = new Set(ids())
      expect((await send(harness.pack([line(4)], 'failing'))).status).toBe(200)
      expect(ids().filter((id) => !before.has(id)).length).toBeGreaterThan(1)
      expect(new Set(ids().filter((id) => !before.has(id))).size).toBe(1)
    })

    it('takes nothing without the token, and does not say whether one was shown', async () => {
      const before = world.bus.published.length
      const request = harness.pack([line(5)], 'forbidden')
      const answers = await Promise.all([{}, harness.shown('x'), harness.shown(`${TOKEN}x`), harness.shown(TOKEN.slice(0, -1))].map((headers) => send(request, headers)))
      expect(answers.map(({ status }) => status)).toEqual([401, 401, 401, 401])
      const texts = await Promise.all(answers.map(async (answer) => (await answer.text()).replace(/"timestamp":\d+/, '')))
      expect(new Set(texts).size).toBe(1)
      expect(texts[0]).not.toContain(TOKEN)
      expect(world.bus.published.length).toBe(before)
    })

    it('refuses a body that is too long with 413, and stores nothing of it', async () => {
      const before = world.bus.published.length
      const long = harness.pack([line(6)], 'long')
      const answer = await send({ ...long, body: Buffer.concat([long.body, Buffer.alloc(MAX_BODY, 0x20)]) })
      expect(answer.status).toBe(413)
      expect(world.bus.published.length).toBe(before)
    })

    it('refuses a body that unpacks to too much with 413', async () => {
      const bomb = gzipSync(Buffer.alloc(50_000_000, 0x20))
      expect(bomb.length).toBeLessThan(MAX_BODY)
      const answer = await send({ body: bomb, headers: { 'content-encoding': 'gzip' } })
      expect(answer.status).toBe(413)
    })

    it.each([
      ['a bomb', () => gzipSync(Buffer.alloc(20_000_000, 0x20)), 'too-large'],
      ['a gzip that is cut', () => gzipSync(Buffer.from('{"logEvents":[]}'.repeat(50))).subarray(0, 30), 'bad-gzip'],
    ])('parks %s and takes the rest', async (_name, broken, why) => {
      const before = ids().length
      const rejects = world.bus.of('rejects.v1').length
      const answer = await send(harness.packBroken([line(7), line(8)], broken(), `broken ${why}`))
      expect(answer.status).toBe(200)
      expect(ids().length).toBe(before + 2)
      expect(world.bus.of('rejects.v1').slice(rejects)).toMatchObject([{ reason: why, source: kind, payload: null }])
    })

    it('parks a record that is cut and takes the rest', async () => {
      const before = ids().length
      const rejects = world.bus.of('rejects.v1').length
      const answer = await send(harness.pack([line(9), line(10).slice(0, 300), line(11)], 'cut'))
      expect(answer.status).toBe(200)
      expect(ids().length).toBe(before + 2)
      expect(world.bus.of('rejects.v1').slice(rejects)).toMatchObject([{ reason: 'invalid-json', stage: 'parse', source: kind }])
    })

    it('says how far it is, after what it took', async () => {
      const [last] = world.bus.of('progress.v1').slice(-1)
      expect(last).toMatchObject({ source: kind, source_stream: 'test', run_id: null, blind: false })
      expect(last?.scanned_to).toBeLessThanOrEqual(NOW + 11)
    })

    it('always answers, whatever comes, and never with 500', async () => {
      const good = harness.pack([line(12)], 'fuzz').body
      const bodies = fc.oneof(
        fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
        fc.json().map((text) => Buffer.from(text)),
        fc.tuple(fc.nat(good.length), fc.uint8Array({ maxLength: 4 })).map(([at, put]) => Buffer.concat([good.subarray(0, at), Buffer.from(put), good.subarray(at + put.length)])),
        fc.json().map((text) => gzipSync(text)),
        fc
          .array(
            fc.oneof(
              fc.string(),
              fc.jsonValue(),
              fc.uint8Array({ maxLength: 40 }).map((bytes) => gzipSync(bytes).toString('base64')),
            ),
            { maxLength: 4 },
          )
          .map((records) => Buffer.from(JSON.stringify({ requestId: 'x', timestamp: 0, records: records.map((data) => ({ data })) }))),
      )
      await fc.assert(
        fc.asyncProperty(bodies, fc.constantFrom('', 'gzip', 'br'), async (body, encoding) => {
          const { status } = await send({ body, headers: encoding === '' ? {} : { 'content-encoding': encoding } })
          expect([200, 400, 413]).toContain(status)
        }),
        { numRuns: 150 },
      )
    })
  })
}

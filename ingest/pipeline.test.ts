import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { monotonicMs } from '../runtime/clock.ts'
import { createRater } from '../pricing/rate.ts'
import { loadPriceBook } from '../pricing/price-book.ts'
import { attributionConfig, type AttributionEntry } from '../schemas/attribution.ts'
import { topics } from '../schemas/topics.ts'
import { noPrices } from '../test/support/ingest.ts'
import { fingerprint } from './fingerprint.ts'
import type { Format, ParsedUsage } from './format.ts'
import { createFormats } from './formats/index.ts'
import { createPipeline, MAX_RECORD_BYTES, type Outcome, type PipelineOptions } from './pipeline.ts'
import type { RawRecord } from './source.ts'

const NOW = Date.UTC(2026, 2, 2, 12)
const HASH_KEY = 'a-key-for-tests-only'

const record = (body: string): RawRecord => ({ id: '1', at: NOW - 1000, ingested_at: NOW - 500, body, origin: { source: 'file', stream: '/logs/app.jsonl' } })

const usage = (change: Partial<ParsedUsage['event']> = {}): ParsedUsage => ({
  topic: 'usage.v1',
  event: {
    event_id: '00000000-0000-8000-8000-000000000001',
    event_time: NOW - 1000,
    revision: 0,
    account_id: null,
    region: null,
    owner_ref: null,
    service: null,
    client_ip: null,
    user_agent: null,
    flags: [],
    provider: 'openai',
    operation: 'chat',
    project_id: null,
    org_id: null,
    api_key_id: null,
    user_id: null,
    deployment: null,
    model: 'gpt-4o',
    request_model: null,
    tier: 'default',
    stream: null,
    input_tokens: 1000,
    cache_read_input_tokens: 0,
    cache_write_input_tokens: null,
    audio_input_tokens: null,
    image_input_tokens: null,
    output_tokens: 100,
    reasoning_output_tokens: null,
    audio_output_tokens: null,
    image_output_tokens: null,
    images: null,
    audio_duration_ms: null,
    requests: 1,
    usage_source: 'log',
    status_code: 200,
    outcome: 'success',
    error_type: null,
    error_code: null,
    duration_ms: 10,
    request_id: 'req_1',
    response_id: null,
    ...change,
  },
})

/** A format that gives what it is told, whatever it reads. */
const giving = (...events: ParsedUsage[]): Format => ({ id: 'test', parse: () => ({ kind: 'accept', events }) })

function processed(options: Partial<PipelineOptions>, body = '{}'): Outcome {
  const pipeline = createPipeline({
    formats: createFormats(),
    hash_key: HASH_KEY,
    attribution: [],
    rater: noPrices,
    privacy: { truncate_ip: 'none', user_ids: 'keep' },
    ...options,
  })
  return pipeline.process(record(body), { now: NOW, run_id: 'run', occurrence: () => 0 })
}

function eventOf(change: Partial<ParsedUsage['event']>, options: Partial<PipelineOptions> = {}) {
  const outcome = processed({ formats: [giving(usage(change))], ...options })
  if (outcome.kind !== 'accept' || outcome.events[0]?.topic !== 'usage.v1') throw new Error(JSON.stringify(outcome))
  return outcome.events[0].event
}

describe('verdicts', () => {
  it('stamps what a format cannot know', () => {
    expect(eventOf({})).toMatchObject({ observed_time: NOW, delivered_time: NOW - 500, source: 'file', source_stream: '/logs/app.jsonl', format: 'test', run_id: 'run' })
  })
  it('takes the first format that does not skip', () => {
    const skip: Format = { id: 'none', parse: () => ({ kind: 'skip', why: 'foreign-shape' }) }
    const outcome = processed({ formats: [skip, giving(usage()), { id: 'never', parse: () => ({ kind: 'reject', why: 'no', detail: '' }) }] })
    expect(outcome).toMatchObject({ kind: 'accept', format: 'test' })
  })
  describe('of a list in one line', () => {
    const call = (id: string) => ({
      id,
      object: 'chat.completion',
      created: (NOW - 60_000) / 1000,
      model: 'gpt-4o',
      usage: { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 },
    })
    const idsOf = (outcome: Outcome): string[] => (outcome.kind === 'accept' ? outcome.events.map(({ event }) => event.event_id) : [outcome.kind])
    it('has the events that its records have one by one', () => {
      const alone = ['chatcmpl-1', 'chatcmpl-2'].flatMap((id) => idsOf(processed({}, JSON.stringify(call(id)))))
      expect(idsOf(processed({}, JSON.stringify([call('chatcmpl-1'), { hello: 1 }, call('chatcmpl-2')])))).toEqual(alone)
    })
    it('keeps twins without an id apart', () => {
      const { id: _, ...twin } = call('none')
      expect(new Set(idsOf(processed({}, JSON.stringify([twin, twin])))).size).toBe(2)
    })
    it('in time that is linear in its length', () => {
      const at = monotonicMs()
      const outcome = processed({}, `[${Array.from({ length: 9_000 }, () => JSON.stringify({ model: 'gpt-4o', usage: { prompt_tokens: -1, completion_tokens: 1 } })).join(',')}]`)
      expect(outcome).toMatchObject({ kind: 'reject', reject: { reason: 'bad-usage' } })
      expect(monotonicMs() - at).toBeLessThan(3_000)
    })
    it('tells the broken beside the whole, and of nothing but strangers the reason', () => {
      const broken = { ...call('chatcmpl-3'), usage: { prompt_tokens: -1 } }
      expect(processed({}, JSON.stringify([broken, call('chatcmpl-1')]))).toMatchObject({ kind: 'accept', events: [{}], rejects: [{ reason: 'bad-usage' }] })
      expect(processed({}, JSON.stringify([broken, { hello: 1 }]))).toMatchObject({ kind: 'reject', reject: { reason: 'bad-usage' } })
      expect(processed({}, JSON.stringify([{ hello: 1 }, { object: 'model', id: 'gpt-4o' }]))).toEqual({ kind: 'skip', why: 'not-usage' })
    })
  })
  it('counts the reason of the format that knew most', () => {
    const formats: Format[] = ['foreign-shape', 'not-usage', 'not-watched'].map((why) => ({ id: why, parse: () => ({ kind: 'skip', why }) }))
    expect(processed({ formats })).toEqual({ kind: 'skip', why: 'not-usage' })
    expect(processed({ formats: formats.slice(0, 1) })).toEqual({ kind: 'skip', why: 'unknown-format' })
  })
  it('rejects with the plugin when a format throws', () => {
    const outcome = processed({
      formats: [
        {
          id: 'broken',
          parse: () => {
            throw new Error('oops sk-proj-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa')
          },
        },
      ],
    })
    expect(outcome).toMatchObject({ kind: 'reject', reject: { reason: 'format-failed', plugin: 'broken', detail: 'broken: oops [redacted:api-key …aaaa]', payload: null } })
  })
  it('rejects a line over a megabyte unparsed, and takes 900 kB', () => {
    const body = (size: number): string => JSON.stringify({ text: 'x'.repeat(size - 11) })
    expect(body(900_000).length).toBe(900_000)
    const seen: number[] = []
    const format: Format = { id: 'test', parse: ({ body }) => (seen.push(body.length), { kind: 'skip', why: 'other' }) }
    expect(processed({ formats: [format] }, body(900_000))).toEqual({ kind: 'skip', why: 'other' })
    expect(processed({ formats: [format] }, body(MAX_RECORD_BYTES + 1))).toMatchObject({ kind: 'reject', reject: { reason: 'too-large', size_bytes: MAX_RECORD_BYTES + 1 } })
    expect(processed({ formats: [format] }, JSON.stringify('é'.repeat(600_000)))).toMatchObject({ kind: 'reject', reject: { reason: 'too-large' } })
    expect(seen).toEqual([900_000])
  })
  it('rejects JSON that is cut, skips text', () => {
    expect(processed({}, '{"a":1,"b":')).toMatchObject({ kind: 'reject', reject: { reason: 'invalid-json' } })
    expect(processed({}, 'INFO all is well')).toEqual({ kind: 'skip', why: 'unknown-format' })
  })
  it.each([
    ['years ago', Date.UTC(2014, 11, 31)],
    ['seconds for milliseconds', Math.floor(NOW / 1000)],
    ['two days ahead', NOW + 2 * 86_400_000],
    ['no number', NaN],
    ['a fraction', NOW + 0.5],
  ])('rejects a time that cannot be: %s', (_name, event_time) => {
    expect(processed({ formats: [giving(usage({ event_time }))] })).toMatchObject({ kind: 'reject', reject: { reason: 'bad-time', plugin: 'test' } })
  })
  it('a record is accepted if one of its events is; the broken one has its row', () => {
    const outcome = processed({ formats: [giving(usage(), usage({ event_time: 5 }), usage({ input_tokens: -1 }))] })
    expect(outcome).toMatchObject({ kind: 'accept', events: [{}], rejects: [{ reason: 'bad-time' }, { reason: 'invalid-event', detail: 'input_tokens: too_small' }] })
  })
  it('the same reject has the same id, another body another', () => {
    const ids = ['{"a":', '{"a":', '{"b":'].map((body) => {
      const outcome = processed({}, body)
      return outcome.kind === 'reject' ? outcome.reject.reject_id : ''
    })
    expect(ids[0]).toBe(ids[1])
    expect(ids[0]).not.toBe(ids[2])
    expect(topics['rejects.v1'].schema.safeParse((processed({}, '{"a":') as Extract<Outcome, { kind: 'reject' }>).reject).success).toBe(true)
  })
})

describe('steps', () => {
  it('a raw key becomes its fingerprint, a tracking id stays, a raw key in the place of an id does not', () => {
    const key = `sk-proj-${'aB3'.repeat(16)}`
    expect(eventOf({ api_key: key }).api_key_id).toBe(fingerprint(key, HASH_KEY))
    expect(eventOf({ api_key: `Bearer ${key} ` }).api_key_id).toBe(fingerprint(key, HASH_KEY))
    expect(eventOf({ api_key: key, api_key_id: 'key_AbC' }).api_key_id).toBe('key_AbC')
    expect(eventOf({ api_key_id: key }).api_key_id).toBe(fingerprint(key, HASH_KEY))
    expect(eventOf({ api_key: ' ' }).api_key_id).toBeNull()
    expect(fingerprint(key, HASH_KEY)).toMatch(/^fp_[0-9a-f]{32}$/)
  })
  it('derives the owner in the order key, project, subscription, file', () => {
    expect(eventOf({ api_key_id: 'key_1', project_id: 'p', account_id: 'a' }).owner_ref).toBe('key:key_1')
    expect(eventOf({ project_id: 'p', account_id: 'a' }).owner_ref).toBe('project:p')
    expect(eventOf({ account_id: 'a', provider: 'azure.ai.openai' }).owner_ref).toBe('subscription:a')
    expect(eventOf({}).owner_ref).toBe('file:app.jsonl')
    expect(eventOf({ owner_ref: 'role:x', api_key_id: 'key_1' }).owner_ref).toBe('role:x')
  })
  it('team and service by the day of the event, the later entry wins', () => {
    const attribution = attributionConfig.parse([
      { owner: 'key:key_1', team: 'old', until: '2026-03-02' },
      { owner: 'key:key_1', team: 'new', service: 'chat', from: '2026-03-02' },
      { owner: 'key:key_2', team: 'wrong' },
      { owner: 'key:key_2', team: 'right' },
    ]) as AttributionEntry[]
    const midnight = Date.UTC(2026, 2, 2)
    expect(eventOf({ api_key_id: 'key_1', event_time: midnight - 1 }, { attribution })).toMatchObject({ team_id: 'old', service: null })
    expect(eventOf({ api_key_id: 'key_1', event_time: midnight, service: 'log says' }, { attribution })).toMatchObject({ team_id: 'new', service: 'chat' })
    expect(eventOf({ api_key_id: 'key_2', service: 'log says' }, { attribution })).toMatchObject({ team_id: 'right', service: 'log says' })
    expect(eventOf({ api_key_id: 'key_3' }, { attribution })).toMatchObject({ team_id: null })
  })
  it('stamps the cost of the price book', () => {
    const rater = createRater(loadPriceBook())
    expect(eventOf({}, { rater })).toMatchObject({ cost_usd: '0.0035', cost_source: 'priced', ctx: 'std', flags: [] })
    expect(eventOf({ model: 'nobody-knows-it' }, { rater })).toMatchObject({ cost_usd: null, cost_source: 'none', price_version: null, flags: ['unpriced'] })
  })
  it('country and network, then truncation', () => {
    expect(eventOf({ client_ip: '8.8.8.8' })).toMatchObject({ client_ip: '8.8.8.8', client_ip_prefix: 32, client_country: 'US', client_asn: 15169 })
    expect(eventOf({ client_ip: '8.8.8.8' }, { privacy: { truncate_ip: '/24+/48', user_ids: 'keep' } })).toMatchObject({
      client_ip: '8.8.8.0',
      client_ip_prefix: 24,
      client_country: 'US',
    })
    expect(eventOf({ client_ip: '2001:4860:4860::8888' }, { privacy: { truncate_ip: '/24+/48', user_ids: 'keep' } })).toMatchObject({
      client_ip: '2001:4860:4860::',
      client_ip_prefix: 48,
      client_asn: 15169,
    })
    expect(eventOf({ client_ip: '81.2.69.***' })).toMatchObject({ client_ip: '81.2.69.0', client_ip_prefix: 24, client_country: 'GB', flags: [] })
    expect(eventOf({ client_ip: '041.2.69.1' })).toMatchObject({ client_ip: null, client_ip_prefix: null, client_country: null, flags: ['bad-address'] })
    expect(eventOf({ client_ip: '203.0.113.7' })).toMatchObject({ client_ip: '203.0.113.7', client_country: null, client_asn: null, flags: [] })
  })
  it('user ids become pseudonyms where that is wanted', () => {
    const hashed = eventOf({ user_id: 'jo@corp.example', user_agent: 'app of jo@corp.example' }, { privacy: { truncate_ip: 'none', user_ids: 'hash' } })
    expect(hashed.user_id).toMatch(/^user_[0-9a-f]{32}$/)
    expect(hashed.user_agent).toBe('app of [redacted:e-mail]')
    expect(eventOf({ user_id: 'jo@corp.example' }).user_id).toBe('jo@corp.example')
  })
  it('actors named by an e-mail address stay apart without it', () => {
    const actorOf = (name: string): string => {
      const body = JSON.stringify({
        userIdentity: { type: 'IAMUser', arn: `arn:aws:iam::111122223333:user/${name}`, accountId: '111122223333', userName: name },
        eventTime: '2026-03-02T10:00:00Z',
        eventSource: 'secretsmanager.amazonaws.com',
        eventName: 'GetSecretValue',
        requestParameters: { secretId: 'prod/db' },
        eventID: name,
      })
      const outcome = processed({ privacy: { truncate_ip: 'none', user_ids: 'hash' } }, body)
      const event = outcome.kind === 'accept' ? outcome.events[0]?.event : undefined
      expect(JSON.stringify(outcome)).not.toContain('corp.example')
      return event?.owner_ref ?? ''
    }
    expect(actorOf('jo@corp.example')).toMatch(/^role:arn:aws:iam::111122223333:user\/user_[0-9a-f]{32}$/)
    expect(actorOf('jo@corp.example')).toBe(actorOf('jo@corp.example'))
    expect(actorOf('ann@corp.example')).not.toBe(actorOf('jo@corp.example'))
  })
  it('only what the schema names survives', () => {
    const event = eventOf({ ...({ prompt: 'tell nobody', __proto__: { polluted: 1 } } as object) })
    expect(Object.keys(event)).not.toContain('prompt')
    expect(({} as { polluted?: number }).polluted).toBeUndefined()
  })
  it('in the order of the schema, whoever judges', () => {
    const order = Object.keys(topics['usage.v1'].schema.shape)
    expect(Object.keys(eventOf({}))).toEqual(order)
    // What is no text where one belongs is zod's to judge.
    expect(processed({ formats: [giving(usage({ model: 7 as unknown as string }))] })).toMatchObject({
      kind: 'reject',
      reject: { reason: 'invalid-event', detail: 'model: invalid_type' },
    })
  })
})

describe('hostile input', () => {
  const deep = (open: string, close: string): string => open.repeat(100_000) + close.repeat(100_000)
  it.each([
    ['deep arrays', deep('[', ']')],
    ['deep objects', `${'{"response":'.repeat(50_000)}1${'}'.repeat(50_000)}`],
    ['__proto__', '{"__proto__":{"x":1},"constructor":{"prototype":{"y":1}},"response":{"__proto__":{"usage":{}}}}'],
    ['huge numbers', '{"response":{"object":"chat.completion","id":"a","created":1e400,"usage":{"prompt_tokens":1e308,"completion_tokens":-0}}}'],
    ['NUL and lone surrogates', '{"model":"\\u0000\\ud800","response":{"object":"chat.completion","id":"\\udfff"}}'],
    ['only blanks', ' '.repeat(10_000)],
    ['empty', ''],
  ])('%s', (_name, body) => {
    expect(['accept', 'skip', 'reject']).toContain(processed({}, body).kind)
    expect(({} as { x?: number }).x).toBeUndefined()
  })
  it('text of any kind in any field gives a whole event or a reject', () => {
    const text = fc.oneof(fc.string({ unit: 'binary', maxLength: 2000 }), fc.constant('\ud800'), fc.constant('\u0000'))
    fc.assert(
      fc.property(text, text, text, text, text, (model, agent, owner, ip, code) => {
        const outcome = processed({
          formats: [giving(usage({ model, user_agent: agent, owner_ref: owner, client_ip: ip, error_code: code, tier: model, request_id: owner, flags: [code] }))],
        })
        expect(outcome.kind).toBe('accept')
        if (outcome.kind !== 'accept') return
        expect(outcome.rejects).toEqual([])
        const [first] = outcome.events
        expect(topics['usage.v1'].schema.safeParse(first?.event).success).toBe(true)
        expect(JSON.stringify(first?.event).isWellFormed()).toBe(true)
      }),
    )
  })
})

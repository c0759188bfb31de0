/** The formats on recorded traffic of others: every record accounted for, token totals to the last one, no text of a prompt or an answer let through. */
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import { cloudTrail } from '../../ingest/formats/cloudtrail/index.ts'
import { openAiHttp } from '../../ingest/formats/openai-http/index.ts'
import type { Format, ParsedEvent, ParsedUsage } from '../../ingest/format.ts'

const fieldData = resolve(process.env['FIELD_DATA'] ?? '../shared/field-data')
const exchanges = join(fieldData, 'openai-exchanges', 'exchanges.jsonl')
const detonations = join(fieldData, 'cloudtrail-detonations')
const isThere = existsSync(exchanges) && existsSync(detonations)
if (!isThere) console.warn(`SKIPPED: no field data at ${fieldData}; set FIELD_DATA to the folder that holds openai-exchanges/ and cloudtrail-detonations/`)

const NOW = Date.parse('2026-11-01T00:00:00Z')
type Exchange = { status: number; url: string; request: unknown; response: unknown }
type Row = { line: Exchange; events: ParsedUsage['event'][]; why: string }

const countBy = <T>(items: readonly T[], name: (item: T) => string): Record<string, number> => {
  const counts: Record<string, number> = {}
  for (const item of items) counts[name(item)] = (counts[name(item)] ?? 0) + 1
  return counts
}
const sum = (rows: readonly Row[], field: 'input_tokens' | 'output_tokens'): number => rows.reduce((total, row) => total + (row.events[0]?.[field] ?? 0), 0)

function parseAll(format: Format, records: readonly unknown[]): { kind: string; why: string; events: ParsedEvent[] }[] {
  const seen = new Map<string, number>()
  const occurrence = (key: string): number => {
    const next = (seen.get(key) ?? -1) + 1
    seen.set(key, next)
    return next
  }
  return records.map((json, index) => {
    const record = { id: String(index), at: 0, ingested_at: null, body: JSON.stringify(json), origin: { source: 'file', stream: 'field-data' } }
    const verdict = format.parse(record, { json, now: NOW, occurrence })
    return { kind: verdict.kind, why: verdict.kind === 'accept' ? '' : verdict.why, events: verdict.kind === 'accept' ? verdict.events : [] }
  })
}

function readExchanges(config: unknown = {}): Row[] {
  const lines = readFileSync(exchanges, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Exchange)
  return parseAll(openAiHttp.create(openAiHttp.config.parse(config)), lines).map(({ why, events }, index) => ({
    line: lines[index] as Exchange,
    why,
    events: events.flatMap((event) => (event.topic === 'usage.v1' ? [event.event] : [])),
  }))
}

describe.skipIf(!isThere)('recorded OpenAI exchanges', () => {
  const rows = isThere ? readExchanges() : []
  const accepted = rows.filter((row) => row.events.length > 0)
  const hasUsage = ({ line }: Row): boolean => typeof line.response === 'object' && (line.response as { usage?: unknown }).usage != null

  it('accounts for every line', () => {
    expect(rows).toHaveLength(953)
    // 163 polls of runs at work, 94 management calls (threads, messages, assistants, traces), 39 of another vendor, 12 foreign.
    expect(countBy(rows, (row) => (row.why === '' ? 'accept' : row.why))).toEqual({ accept: 645, 'not-finished': 163, 'not-usage': 94, 'other-host': 39, 'foreign-shape': 12 })
  })

  it('gives one event per distinct call: the recordings repeat lines', () => {
    expect(new Set(accepted.map((row) => row.events[0]?.event_id)).size).toBe(497)
    const byResponse = new Map(accepted.map((row) => [row.events[0]?.response_id ?? row.events[0]?.request_id, row.events[0]?.event_id]))
    expect(new Set(byResponse.values()).size).toBe(byResponse.size)
  })

  it('reads the tokens to the last one, other vendors apart', () => {
    const withUsage = accepted.filter(hasUsage)
    expect([withUsage.length, sum(withUsage, 'input_tokens'), sum(withUsage, 'output_tokens')]).toEqual([455, 75_788, 31_286])
    const all = readExchanges({ extra_hosts: { 'api.groq.com': 'groq' } }).filter((row) => row.events.length > 0 && hasUsage(row))
    expect([all.length, sum(all, 'input_tokens'), sum(all, 'output_tokens')]).toEqual([491, 76_436, 33_302])
    expect(withUsage.flatMap((row) => row.events[0]?.flags ?? []).filter((flag) => flag.startsWith('tokens-'))).toEqual([])
  })

  it('meters the streams that say their usage and flags the others', () => {
    const streams = accepted.filter(({ line }) => typeof line.response === 'string').map((row) => row.events[0])
    expect(countBy(streams, (event) => `${event?.operation} ${event?.usage_source}`)).toEqual({
      'chat absent': 108,
      'chat provider': 6,
      'responses provider': 28,
      'text_completion absent': 18,
      'assistant_run provider': 6,
    })
    for (const event of streams) {
      expect(event?.stream).toBe(true)
      expect(event?.response_id).not.toBeNull()
      if (event?.usage_source === 'absent') expect([event.input_tokens, event.output_tokens, event.flags.includes('tokens-missing')]).toEqual([null, null, true])
    }
  })

  it('classes the 18 errors and the three blocked calls that came with 200', () => {
    const failed = accepted.filter((row) => row.events[0]?.outcome !== 'success')
    expect(rows.filter(({ line }) => line.status >= 400)).toHaveLength(18)
    expect(countBy(failed, ({ events: [event] }) => `${event?.status_code} ${event?.error_code} ${event?.outcome}`)).toEqual({
      '200 content_filter blocked': 3,
      '400 invalid_image_format client_error': 3,
      '400 invalid_image_url client_error': 3,
      '400 unknown_parameter client_error': 2,
      '401 401 auth_failure': 6,
      '404 DeploymentNotFound client_error': 3,
      '404 model_not_found client_error': 1,
    })
  })

  it('lets nothing of a prompt or an answer through', () => {
    const serialised = JSON.stringify(rows.map((row) => row.events))
    // Names of models and our own names of operations may stand in a prompt too.
    const known = new Set(accepted.flatMap(({ events: [event] }) => [event?.model, event?.request_model, event?.deployment, event?.operation]))
    const windows = new Set<string>()
    for (let at = 0; at + 12 <= serialised.length; at += 1) windows.add(serialised.slice(at, at + 12))
    const texts = new Set(rows.flatMap(({ line }) => contentOf(line)))
    expect(texts.size).toBeGreaterThan(400)
    const leaked: string[] = []
    for (const text of texts) for (let at = 0; at + 12 <= text.length; at += 1) if (windows.has(text.slice(at, at + 12))) leaked.push(text.slice(at, at + 12))
    expect(leaked.filter((piece) => ![...known].some((name) => name?.includes(piece)))).toEqual([])
  })
})

const CONTENT = new Set(['content', 'text', 'prompt', 'input', 'instructions', 'arguments', 'output', 'description', 'delta', 'value'])

/** Every text under a name that holds what people or models wrote, the deltas of streams too. */
function contentOf(line: Exchange): string[] {
  const texts: string[] = []
  const collect = (value: unknown, isContent: boolean): void => {
    if (typeof value === 'string') {
      if (isContent && value.length >= 12) texts.push(value)
    } else if (typeof value === 'object' && value !== null) {
      for (const [key, child] of Object.entries(value)) collect(child, Array.isArray(value) ? isContent : CONTENT.has(key))
    }
  }
  collect(line.request, false)
  if (typeof line.response !== 'string') collect(line.response, false)
  else for (const event of line.response.split('\n')) if (event.startsWith('data: {')) collect(JSON.parse(event.slice(6)), false)
  return texts
}

describe.skipIf(!isThere)('recorded CloudTrail detonations', () => {
  const events = (technique: string): ParsedEvent[] => {
    const file = readdirSync(detonations).find((name) => name.includes(technique)) ?? ''
    const records = JSON.parse(readFileSync(join(detonations, file), 'utf8')) as unknown[]
    const verdicts = parseAll(cloudTrail.create({}), records)
    expect(verdicts.filter((verdict) => verdict.kind === 'reject')).toEqual([])
    return verdicts.flatMap((verdict) => verdict.events)
  }
  const summary = (found: ParsedEvent[]): Record<string, number> =>
    countBy(found, ({ topic, event }) =>
      topic === 'usage.v1' ? `usage ${event.provider} ${event.usage_source}` : `${'action' in event ? event.action : event.change} ${event.provider_operation}`,
    )

  it.each([
    ['secretsmanager-retrieve-secrets', { 'read GetSecretValue': 20, 'list ListSecrets': 1 }],
    ['secretsmanager-batch-retrieve', { 'batch_read BatchGetSecretValue': 5 }],
    ['ssm-retrieve', { 'read GetParameters': 5, 'list DescribeParameters': 5 }],
    [
      'bedrock-invoke-model',
      {
        'usage aws.bedrock absent': 1,
        'listed GetFoundationModelAvailability': 10,
        'listed ListFoundationModelAgreementOffers': 1,
        'created CreateFoundationModelAgreement': 1,
        'created PutFoundationModelEntitlement': 1,
        'updated PutUseCaseForModelAccess': 1,
      },
    ],
    ['console-login', {}],
  ])('%s', (technique, expected) => expect(summary(events(technique))).toEqual(expected))

  it('knows the actor of every event, and which scrambled addresses are none', () => {
    const all = ['secretsmanager-retrieve-secrets', 'secretsmanager-batch-retrieve', 'ssm-retrieve', 'bedrock-invoke-model'].flatMap(events)
    expect(new Set(all.map(({ event }) => event.event_id)).size).toBe(all.length)
    for (const { topic, event } of all) {
      expect(event.client_ip === null).toBe(event.flags.includes('bad-address'))
      if (topic !== 'usage.v1') expect([event.is_child, event.actor_id.startsWith('arn:aws:iam::')]).toEqual([false, true])
    }
  })
})

/**
 * The recorded attacks, done by somebody who was at home elsewhere until then. Three of the five are reads of secrets that succeed:
 * where they came from is all that the three detectors can see of them (how many there were is the business of a detector of its own).
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { detectorsConfig } from '../../detect/config.ts'
import { configuredDetectors } from '../../detect/index.ts'
import { createFormats } from '../../ingest/formats/index.ts'
import { createPipeline } from '../../ingest/pipeline.ts'
import { loadPriceBook } from '../../pricing/price-book.ts'
import { createRater } from '../../pricing/rate.ts'
import { nameUuid } from '../../runtime/ids.ts'
import type { SecretAccessEvent } from '../../schemas/secret-access.ts'
import { replay, type Told } from '../eval/harness.ts'
import { fieldData, needs } from '../support/needs.ts'

const HOUR = 3_600_000
const home = { client_ip: '198.51.100.7', client_ip_prefix: 32, client_country: 'US', client_asn: 16_509, client_as_name: 'AMAZON-02' }

function reads(technique: string): SecretAccessEvent[] {
  const folder = join(fieldData(), 'cloudtrail-detonations')
  const file = readdirSync(folder).find((name) => name.includes(technique)) ?? ''
  const records = JSON.parse(readFileSync(join(folder, file), 'utf8')) as unknown[]
  const pipeline = createPipeline({
    formats: createFormats(['cloudtrail']),
    hash_key: 'k'.repeat(32),
    attribution: [],
    rater: createRater(loadPriceBook()),
    privacy: { truncate_ip: 'none', user_ids: 'hash' },
  })
  const context = { now: Date.UTC(2026, 10, 1), run_id: null, occurrence: () => 0 }
  return records.flatMap((record, index) => {
    const body = JSON.stringify(record)
    const outcome = pipeline.process({ id: String(index), at: 0, ingested_at: null, body, origin: { source: 'file', stream: file } }, context)
    return outcome.kind === 'accept' ? outcome.events.flatMap((one) => (one.topic === 'secret-access.v1' ? [one.event] : [])) : []
  })
}

async function told(technique: string): Promise<Told[]> {
  const attack = reads(technique).sort((a, b) => a.event_time - b.event_time)
  const [first] = attack
  expect(first).toBeDefined()
  if (first === undefined) return []
  const past = Array.from({ length: 9 * 24 }, (_, hour): SecretAccessEvent => {
    const event_time = first.event_time - (9 * 24 - hour) * HOUR
    return { ...first, ...home, event_id: nameUuid('past', hour), event_time, secret_id: 'prod/llm-key', secret_ids: [], action: 'read', provider_operation: 'GetSecretValue' }
  })
  const events = [...past, ...attack].map((event) => ({ topic: 'secret-access.v1' as const, event }))
  return (await replay(configuredDetectors(detectorsConfig.parse(undefined)), events)).told
}

describe.skipIf(!needs('field-data', 3))('recorded detonations and the detectors (FIELD_DATA)', () => {
  it('secrets read in batches from a country that the reader never came from: geography, by the first of them', async () => {
    const [found] = await told('batch-retrieve')
    expect(found).toMatchObject({ detector: 'geography', reason: 'new-country', severity: 'high', entity: 'actor:arn:aws:iam::165109126369:user/christophe' })
    expect(found?.evidence['new_places']).toMatchObject([{ country: 'LT', calls: 1 }])
  })

  it.each(['secretsmanager-retrieve-secrets', 'ssm-retrieve'])('%s comes from scrambled addresses that are nowhere: no geography is an answer', async (technique) => {
    expect(await told(technique)).toEqual([])
  })
})

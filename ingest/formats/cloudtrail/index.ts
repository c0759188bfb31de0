/** AWS CloudTrail: secret reads, key changes, and model calls with their model-access and logging changes. Rules: docs/formats.md. */
import { z } from 'zod'
import type { Format, FormatSpec, ParsedEvent, Verdict } from '../../format.ts'
import type { RawRecord } from '../../source.ts'
import { asObject, objectAt } from '../../shapes/json.ts'
import type { Json } from '../../shapes/json.ts'
import { accessKeyEvent } from './access-keys.ts'
import { bedrockEvent } from './bedrock.ts'
import { readCall } from './call.ts'
import type { Call, Outcome } from './call.ts'
import { secretEvent } from './secrets.ts'

const config = z.strictObject({}).describe('AWS CloudTrail records of Secrets Manager, SSM, KMS, IAM and Bedrock')
export type CloudTrailConfig = z.infer<typeof config>

export const cloudTrail: FormatSpec<CloudTrailConfig> = {
  id: 'cloudtrail',
  summary: 'AWS CloudTrail records of secret reads, access keys and Bedrock',
  config,
  example: {},
  create: () => new CloudTrail(),
}

const WATCHED: Record<string, (call: Call) => Outcome> = {
  'secretsmanager.amazonaws.com': secretEvent,
  'ssm.amazonaws.com': secretEvent,
  'kms.amazonaws.com': secretEvent,
  'iam.amazonaws.com': accessKeyEvent,
  'bedrock.amazonaws.com': bedrockEvent,
}

class CloudTrail implements Format {
  readonly id = 'cloudtrail'

  parse(record: RawRecord, context: Parameters<Format['parse']>[1]): Verdict {
    const json = asObject(context.json)
    if (json === null) {
      const isCut = context.json === undefined && OURS_BUT_CUT.test(record.body.slice(0, 8192))
      return isCut ? { kind: 'reject', why: 'invalid-json', detail: 'a CloudTrail record that is cut or no JSON' } : { kind: 'skip', why: 'foreign-shape' }
    }
    const records = json['Records']
    if (Array.isArray(records)) return ofMany(records, context)
    // EventBridge carries the record under `detail`.
    const outcome = ofRecord(objectAt(json, 'detail') ?? json, context)
    return outcome.kind === 'event' ? { kind: 'accept', events: [outcome.event] } : outcome
  }
}

const OURS_BUT_CUT = /^\s*\{.*"eventSource"\s*:\s*"(secretsmanager|ssm|kms|iam|bedrock)\.amazonaws\.com"/s

function ofRecord(record: Json, { now, occurrence }: Parameters<Format['parse']>[1]): Outcome {
  const source = record['eventSource']
  if (typeof source !== 'string' || !source.endsWith('.amazonaws.com') || !Object.hasOwn(record, 'eventName')) return { kind: 'skip', why: 'foreign-shape' }
  const watched = Object.hasOwn(WATCHED, source) ? WATCHED[source] : undefined
  if (watched === undefined) return { kind: 'skip', why: 'not-watched' }
  const call = readCall(record, now, occurrence)
  return call.kind === 'call' ? watched(call.call) : call
}

/** A whole file in one record: one verdict, so events win over a broken neighbour, which is then named on each of them. */
function ofMany(records: readonly unknown[], context: Parameters<Format['parse']>[1]): Verdict {
  const events: ParsedEvent[] = []
  let skipped: Outcome & { kind: 'skip' } = { kind: 'skip', why: 'foreign-shape' }
  let broken: (Outcome & { kind: 'reject' }) | null = null
  for (const [index, record] of records.entries()) {
    const object = asObject(record)
    const outcome: Outcome = object === null ? { kind: 'reject', why: 'bad-shape', detail: 'a record that is no object' } : ofRecord(object, context)
    if (outcome.kind === 'event') events.push(outcome.event)
    else if (outcome.kind === 'skip') skipped = outcome
    else broken ??= { ...outcome, detail: `Records[${index}]: ${outcome.detail}` }
  }
  if (events.length === 0) return broken ?? skipped
  if (broken !== null) for (const { event } of events) event.flags.push('partial-envelope')
  return { kind: 'accept', events }
}

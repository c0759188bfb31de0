/** Azure Key Vault audit events: Event Hub and blob records, rows of AzureDiagnostics and AZKVAuditLogs. Rules: docs/azure-monitor.md. */
import { z } from 'zod'
import type { Format, FormatSpec, ParsedEvent, Verdict } from '../../format.ts'
import { asObject } from '../../shapes/json.ts'
import type { RawRecord } from '../../source.ts'
import { eventOf, type Outcome } from './event.ts'
import { auditOf } from './shapes.ts'

const config = z.strictObject({}).describe('Azure Key Vault audit events in any of their three shapes')

export const azureKeyVault: FormatSpec<z.infer<typeof config>> = {
  id: 'azure-key-vault',
  summary: 'Azure Key Vault audit events (Event Hub, AzureDiagnostics, AZKVAuditLogs)',
  config,
  example: {},
  create: () => new AzureKeyVault(),
}

class AzureKeyVault implements Format {
  readonly id = 'azure-key-vault'

  parse(record: RawRecord, { json, now }: Parameters<Format['parse']>[1]): Verdict {
    const object = asObject(json)
    if (object === null) {
      const isCut = json === undefined && OURS_BUT_CUT.test(record.body.slice(0, 8192))
      return isCut ? { kind: 'reject', why: 'invalid-json', detail: 'a Key Vault record that is cut or no JSON' } : { kind: 'skip', why: 'foreign-shape' }
    }
    // An Event Hub message holds several.
    const records = object['records']
    if (Array.isArray(records)) return ofMany(records, now)
    const outcome = ofOne(object, now)
    return outcome.kind === 'event' ? { kind: 'accept', events: [outcome.event] } : outcome
  }
}

const OURS_BUT_CUT = /^\s*\{.*"resourceId"\s*:\s*"[^"]*\/providers\/microsoft\.keyvault\//is

function ofOne(value: unknown, now: number): Outcome {
  const object = asObject(value)
  const audit = object === null ? null : auditOf(object)
  return audit === null ? { kind: 'skip', why: 'foreign-shape' } : eventOf(audit, now)
}

/** One verdict for the message: events win over a broken neighbour, which is then named on each of them. */
function ofMany(records: readonly unknown[], now: number): Verdict {
  const events: ParsedEvent[] = []
  let skipped: Outcome & { kind: 'skip' } = { kind: 'skip', why: 'foreign-shape' }
  let broken: (Outcome & { kind: 'reject' }) | null = null
  for (const [index, record] of records.entries()) {
    const outcome = ofOne(record, now)
    if (outcome.kind === 'event') events.push(outcome.event)
    else if (outcome.kind === 'reject') broken ??= { ...outcome, detail: `records[${index}]: ${outcome.detail}` }
    else if (skipped.why === 'foreign-shape') skipped = outcome
  }
  if (events.length === 0) return broken ?? skipped
  if (broken !== null) for (const { event } of events) event.flags.push('partial-envelope')
  return { kind: 'accept', events }
}

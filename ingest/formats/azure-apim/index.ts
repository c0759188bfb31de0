/** Azure API Management in front of models: LLM log and gateway log, two tables of one request. Rules: docs/formats.md. */
import { z } from 'zod'
import type { Fragment } from '../../../schemas/fragments.ts'
import type { Format, FormatSpec, Verdict } from '../../format.ts'
import { asObject } from '../../shapes/json.ts'
import type { RawRecord } from '../../source.ts'
import { apimJoiner, eventOf, GATEWAY, LLM } from './event.ts'
import { gatewayFields } from './gateway.ts'
import { llmFields } from './llm.ts'
import { readRow } from './row.ts'

const config = z.strictObject({}).describe('Azure API Management: ApiManagementGatewayLlmLog and ApiManagementGatewayLogs, joined by CorrelationId')
export type AzureApimConfig = z.infer<typeof config>

export const azureApim: FormatSpec<AzureApimConfig> = {
  id: 'azure-apim',
  summary: 'Azure API Management gateway and LLM logs, joined into one event a request',
  config,
  example: {},
  create: () => new AzureApim(),
  joiner: apimJoiner,
}

class AzureApim implements Format {
  readonly id = 'azure-apim'

  parse(record: RawRecord, { json, now }: Parameters<Format['parse']>[1]): Verdict {
    const object = asObject(json)
    if (object === null) {
      const is_cut = json === undefined && OURS_BUT_CUT.test(record.body.slice(0, 8192))
      return is_cut ? { kind: 'reject', why: 'invalid-json', detail: 'a row of API Management that is cut or no JSON' } : { kind: 'skip', why: 'foreign-shape' }
    }
    const reading = readRow(object, now)
    if (reading.kind !== 'row') return reading
    const { row } = reading
    const found = row.kind === 'llm' ? llmFields(row) : gatewayFields(row)
    if ('skip' in found) return { kind: 'skip', why: found.skip }
    if ('broken' in found) return { kind: 'reject', why: 'bad-usage', detail: `${found.broken} is not a count` }
    const part = row.kind === 'llm' ? LLM : GATEWAY
    const fragment: Fragment = { correlation_id: row.correlation_id, part, format: this.id, event_time: row.event_time, observed_time: now, run_id: null, fields: found.fields }
    const event = apimJoiner.told(fragment) ? eventOf(row.correlation_id, [fragment]) : null
    return { kind: 'accept', events: event === null ? [] : [event], fragments: [fragment] }
  }
}

const OURS_BUT_CUT = /^\s*\{.*"(?:ApiManagementGatewayLlmLog|ApiManagementGatewayLogs|GatewayLlmLogs|microsoft\.apimanagement\/service)"/is

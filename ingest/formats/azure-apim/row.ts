/**
 * A row of API Management's gateway or LLM log, whichever way it came: a row of the Log Analytics table (flat, PascalCase) or
 * the raw diagnostic record of an Event Hub (camelCase under `properties`). Facts: Microsoft's table reference, docs/formats.md.
 */
import type { Json } from '../../shapes/json.ts'
import { asLabel, asObject, objectAt, parseObject } from '../../shapes/json.ts'
import { instantOf, isPlausible } from '../../shapes/time.ts'

export interface Row {
  kind: 'gateway' | 'llm'
  /** The columns, nearest first: `properties` before the record around it. */
  scopes: readonly Json[]
  correlation_id: string
  /** Start of processing, epoch ms. */
  event_time: number
  /** Azure subscription that the gateway belongs to. */
  account_id: string | null
  region: string | null
}

type Reading = { kind: 'row'; row: Row } | { kind: 'skip'; why: string } | { kind: 'reject'; why: string; detail: string }

export function readRow(record: Json, now: number): Reading {
  const nested = objectAt(record, 'properties') ?? embedded(record['properties'])
  const scopes = nested === null ? [record] : [nested, record]
  const kind = kindOf(record)
  if (kind === null) return { kind: 'skip', why: 'foreign-shape' }
  const correlation = textOf(scopes, 'CorrelationId', 200)
  if (correlation === null) return { kind: 'reject', why: 'no-correlation-id', detail: 'the row has no CorrelationId: nothing says which request it belongs to' }
  const written = valueOf(scopes, 'TimeGenerated') ?? valueOf(scopes, 'TimeGenerated [UTC]') ?? valueOf(scopes, 'time') ?? valueOf(scopes, 'Timestamp')
  if (written === undefined) return { kind: 'reject', why: 'no-time', detail: 'TimeGenerated (or `time`) is missing' }
  const time = instantOf(written)
  if (time === null || !isPlausible(time, now))
    return { kind: 'reject', why: 'bad-time', detail: 'TimeGenerated is no instant, before 2015 or more than a day ahead of this machine' }
  const resource = textOf(scopes, '_ResourceId', 512) ?? textOf(scopes, 'ResourceId', 512)
  const row = {
    kind,
    scopes,
    correlation_id: correlation.toLowerCase(),
    event_time: time,
    account_id: resource === null ? (textOf(scopes, '_SubscriptionId', 64)?.toLowerCase() ?? null) : (/^\/subscriptions\/([^/]+)/i.exec(resource)?.[1]?.toLowerCase() ?? null),
    region: textOf(scopes, 'Region', 64) ?? textOf(scopes, 'Location', 64),
  }
  return { kind: 'row', row }
}

const BY_NAME: Readonly<Record<string, Row['kind']>> = {
  GatewayLogs: 'gateway',
  GatewayLlmLogs: 'llm',
  ApiManagementGatewayLogs: 'gateway',
  ApiManagementGatewayLlmLog: 'llm',
}
/** Columns that hardly another table has; two of them beside a CorrelationId are enough to know a row that does not name its table. */
const GATEWAY_COLUMNS = ['ApimSubscriptionId', 'BackendResponseCode', 'BackendTime', 'BackendUrl', 'IsRequestSuccess', 'ProductId', 'TotalTime', 'ApiRevision']
const LLM_COLUMNS = ['SequenceNumber', 'IsStreamCompletion', 'DeploymentName', 'PromptTokens', 'CompletionTokens', 'RequestMessages', 'ResponseMessages']

function kindOf(record: Json): Row['kind'] | null {
  const named = record['Type'] ?? record['category'] ?? record['Category']
  if (typeof named === 'string' && named !== '') {
    const kind = Object.hasOwn(BY_NAME, named) ? BY_NAME[named] : undefined
    const resource = textOf([record], 'ResourceId', 512)
    return kind === undefined || (resource !== null && !/microsoft\.apimanagement/i.test(resource)) ? null : kind
  }
  // Raw records always name their category, so a row without a name is one of a table: its columns begin with capitals. The same
  // words in camel case (correlationId, productId, promptTokens) are those of many an application's own lines.
  if (!Object.hasOwn(record, 'CorrelationId')) return null
  const has = (columns: readonly string[]): number => columns.filter((column) => Object.hasOwn(record, column)).length
  if (has(LLM_COLUMNS) >= 2) return 'llm'
  return has(GATEWAY_COLUMNS) >= 2 ? 'gateway' : null
}

/** The first of `Name` and `name` that holds anything; empty texts of CSV exports hold nothing. */
export function valueOf(scopes: readonly Json[], column: string): unknown {
  for (const scope of scopes) {
    for (const name of [column, camel(column)]) {
      const value = Object.hasOwn(scope, name) ? scope[name] : undefined
      if (value !== undefined && value !== null && value !== '') return value
    }
  }
  return undefined
}

export const textOf = (scopes: readonly Json[], column: string, max = 256): string | null => asLabel(valueOf(scopes, column), max)

/** A count; CSV exports write it as text. `broken`: something else stands there. */
export function countOf(scopes: readonly Json[], column: string): number | null | 'broken' {
  const value = valueOf(scopes, column)
  if (value === undefined) return null
  const number = typeof value === 'string' && /^\d{1,15}$/.test(value) ? Number(value) : value
  return typeof number === 'number' && Number.isSafeInteger(number) && number >= 0 ? number : 'broken'
}

export function flagOf(scopes: readonly Json[], column: string): boolean | null {
  const value = valueOf(scopes, column)
  if (typeof value === 'boolean') return value
  return typeof value === 'string' && /^(true|false)$/i.test(value) ? value.toLowerCase() === 'true' : null
}

/** Object columns come parsed or as text. */
export const objectOf = (scopes: readonly Json[], column: string): Json | null => {
  const value = valueOf(scopes, column)
  return asObject(value) ?? embedded(value)
}

const camel = (column: string): string => column.charAt(0).toLowerCase() + column.slice(1)
const embedded = (value: unknown): Json | null => (typeof value === 'string' && value.startsWith('{') ? parseObject(value) : null)

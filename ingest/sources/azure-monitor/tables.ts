/** The tables that the source knows, and own KQL. Columns from Microsoft's table reference. */
import { z } from 'zod'
import type { TableQuery } from './kql.ts'

/**
 * _ResourceId is a standard column that may be hidden like _ItemId; naming it puts it into the row. Prompts never leave the
 * workspace: nobody may see them here anyway. Bodies of responses do, where they are logged: they may hold the only token counts.
 */
const RESOURCE = 'extend _ResourceId = tostring(_ResourceId)'
export const builtinTables: Readonly<Record<string, readonly string[]>> = {
  AZKVAuditLogs: [RESOURCE],
  AzureDiagnostics: ['where ResourceProvider == "MICROSOFT.KEYVAULT"', 'where Category == "AuditEvent"'],
  ApiManagementGatewayLogs: [RESOURCE, 'project-away RequestBody, BackendRequestBody, TraceRecords'],
  ApiManagementGatewayLlmLog: [RESOURCE, 'where isnotempty(DeploymentName)', 'project-away RequestMessages, ResponseMessages'],
}

/** Operators that leave one row for one row; others would break the count by which completeness is proved. */
const KEEPS_ROWS = ['where', 'extend', 'parse', 'parse-where', 'project-away', 'project-rename', 'project-reorder']

const tableName = z.string().regex(/^[A-Za-z]\w{0,127}$/, 'the name of a table')

const kql = z
  .string()
  .refine((text) => stepsOf(text).every((step) => KEEPS_ROWS.includes(/^[\w-]+/.exec(step)?.[0] ?? '')), `only operators that keep every row a row: ${KEEPS_ROWS.join(', ')}`)
  .refine((text) => !/\btw_/.test(text), 'names that begin with tw_ are the collector’s own')
  .describe('operators put behind the table, each after a | as in the portal')

export const tableConfig = z
  .union([tableName, z.strictObject({ table: tableName, kql })])
  .describe(`name of a table, or {table, kql}; known: ${Object.keys(builtinTables).join(', ')}`)

export function tableQuery(config: z.infer<typeof tableConfig>): TableQuery {
  if (typeof config === 'string') return { table: config, steps: builtinTables[config] ?? [] }
  return { table: config.table, steps: stepsOf(config.kql) }
}

/** The steps between the pipes; a pipe inside a text does not part them, and a step becomes one line. */
function stepsOf(text: string): string[] {
  const steps: string[] = []
  let step = ''
  for (const piece of text.match(/@"(?:[^"]|"")*"|@'(?:[^']|'')*'|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\/\/[^\n]*|\||[^"'|/@]+|./gs) ?? []) {
    if (piece.startsWith('//')) continue
    if (piece === '|') {
      steps.push(step)
      step = ''
    } else step += piece
  }
  return [...steps, step].map((one) => one.replaceAll(/\s*\n\s*/g, ' ').trim()).filter((one) => one !== '')
}

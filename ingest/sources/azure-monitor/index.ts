/** Source `azure-monitor`: tables of Log Analytics workspaces, by query. */
import { z } from 'zod'
import { UsageError } from '../../../runtime/errors.ts'
import { sha256Hex } from '../../../runtime/ids.ts'
import type { Source, SourceContext, SourceSpec } from '../../source.ts'
import { createLogsApi } from './adapter.ts'
import type { LogsApi } from './api.ts'
import { Budget, limited } from './budget.ts'
import { type AzureMonitorConfig, checkConfig, config } from './config.ts'
import { clouds, openCredential } from './credential.ts'
import { Reader } from './reader.ts'
import { ServiceClock } from './service-clock.ts'
import { azureStream } from './stream.ts'
import { tableQuery } from './tables.ts'

const SECOND = 1000
/** TimeGenerated that is more than a day ahead is replaced by the service; one more for clocks that differ. */
const SPAN_AHEAD_MS = 2 * 86_400_000

export const azureMonitor: SourceSpec<AzureMonitorConfig> & { config: z.ZodObject } = {
  id: 'azure-monitor',
  summary: 'tables of Azure Log Analytics workspaces, by query: Key Vault, API Management and others',
  config,
  example: { workspaces: [{ id: '00000000-0000-0000-0000-000000000000', name: 'prod' }], tables: ['AZKVAuditLogs'], credential: { kind: 'managed-identity' } },
  create: async (options, context) => {
    checkConfig(options)
    const cloud = clouds[options.cloud]
    const credential = await openCredential(options.credential, options.authority_host ?? cloud.authority)
    const api = await createLogsApi({
      client: options.client,
      credential,
      endpoint: (options.endpoint ?? cloud.endpoint).replace(/\/+$/, ''),
      audience: (options.audience ?? cloud.audience).replace(/\/+$/, ''),
      query_timeout_s: Math.ceil(options.query_timeout / SECOND),
      allow_insecure: options.allow_insecure,
      clock: context.clock,
    })
    return azureSources(api, options, context)
  },
}

/** One source for each table of each workspace, on whatever API: the simulation puts its own below. */
export function azureSources(api: LogsApi, options: AzureMonitorConfig, { clock, log }: SourceContext): Source<unknown>[] {
  const each = options.workspaces.length > 1 ? Math.max(1, options.concurrent - 1) : options.concurrent
  const shared = limited(api, new Budget({ clock, requests: options.requests_per_30s, concurrent: options.concurrent }), each)
  const caps = { rows: options.max_rows, bytes: options.max_bytes }
  const names = new Set<string>()
  return options.workspaces.flatMap((workspace) => {
    const name = workspace.name ?? workspace.id
    const service_clock = new ServiceClock(shared, workspace.id, clock)
    return (workspace.tables ?? options.tables).map((table): Source<unknown> => {
      const query = tableQuery(table)
      const stream = `${name}/${query.table}`
      if (names.has(stream)) throw new UsageError(`sources: azure-monitor: ${stream} is named twice; put both conditions into one kql`)
      names.add(stream)
      const reader = new Reader({ api: shared, workspace: { id: workspace.id, name }, query, caps, span_back: options.timespan, span_ahead: SPAN_AHEAD_MS, log })
      const { start, overlap, settle, poll, recount: recount_every, recount_over, deep_recount: deep_recount_every, deep_recount_over, event_delay } = options
      const recounts = { recount_every, recount_over, deep_recount_every, deep_recount_over }
      const selection = sha256Hex(JSON.stringify(query.steps)).slice(0, 16)
      const source = azureStream({ stream, clock, service_clock, reader, selection, caps, start, overlap, settle, poll, ...recounts, event_delay })
      // What was stored is what `next` was: our own value, JSON there and back.
      return { ...source, read: (after, signal) => source.read(after as Parameters<typeof source.read>[0], signal) }
    })
  })
}

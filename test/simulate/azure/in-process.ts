/** The model as the port that the source asks: no HTTP, no client library. Failures are read by the shipped code. */
import type { Answer, LogsApi } from '../../../ingest/sources/azure-monitor/api.ts'
import { answerOfFailure, nonsense } from '../../../ingest/sources/azure-monitor/failure.ts'
import type { LogAnalytics, Reply } from './model.ts'

export interface InProcessOptions {
  /** Around each request: a simulation lets the process die or time pass here. Default: none. */
  around?: (ask: () => Reply) => Promise<Reply>
}

export function inProcess(model: LogAnalytics, { around = (ask) => Promise.resolve(ask()) }: InProcessOptions = {}): LogsApi {
  return {
    queryWindow: async (workspace, query, { from, to }, signal) => {
      signal.throwIfAborted()
      const timespan = `${new Date(from).toISOString()}/${new Date(to).toISOString()}`
      const reply = await around(() => model.query({ workspace, query, timespan }))
      signal.throwIfAborted()
      if (reply.hangs === true) await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
      signal.throwIfAborted()
      return answerOf(reply, model.now())
    },
  }
}

function answerOf({ status, headers, body }: Reply, now: number): Answer {
  if (status === 204) return { kind: 'empty' }
  if (status !== 200) return answerOfFailure({ status, retry_after: headers['retry-after'] ?? null, body }, now)
  let parsed: { tables?: { columns?: { name: string }[]; rows?: unknown[][] }[]; error?: { message: string } }
  try {
    parsed = JSON.parse(body ?? '') as typeof parsed
  } catch {
    throw nonsense('no JSON')
  }
  const [table] = parsed.tables ?? []
  if (table?.columns === undefined || table.rows === undefined) throw nonsense('no table in the answer')
  if (parsed.error !== undefined) return { kind: 'partial', why: 'partial', message: parsed.error.message }
  return { kind: 'table', columns: table.columns.map(({ name }) => name), rows: table.rows }
}

/** The one call that the source makes, whatever client library stands behind it. */

/** Answer of a workspace to one query. */
export type Answer =
  | { kind: 'table'; columns: readonly string[]; rows: readonly (readonly unknown[])[] }
  /** Only a part of the result came, or the time was up: the window has failed and must be asked in smaller parts. */
  | { kind: 'partial'; why: 'partial' | 'timeout' | 'too-large'; message: string }
  /** HTTP 204: the workspace holds no data at all. */
  | { kind: 'empty' }

/** Epoch ms, half-open. */
export interface Span {
  from: number
  to: number
}

export interface LogsApi {
  /**
   * One single query (never a batch: its items fail one by one behind a success). `timespan` filters TimeGenerated. Never retries.
   * Throws TransientError (busy or away, with the wish of the service when to come back), PermanentError (permission, table,
   * syntax: with what to do), or an abort error soon after `signal` aborts.
   */
  queryWindow(workspace: string, kql: string, timespan: Span, signal: AbortSignal): Promise<Answer>
}

/** Port of pull sources. A source owns paging, nothing else; collector.ts owns retry, publishing, checkpoints and progress. */
import type { PluginSpec } from '../runtime/plugin.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/log.ts'

export interface RawRecord {
  /** The source's own id of the record (CloudWatch eventId, file offset …): for dedupe inside a page and for logs, never for event ids. */
  id: string
  /** Epoch ms that the source gives the record (for CloudTrail in CloudWatch that is the delivery time); 0 where it gives none. */
  at: number
  /** When the cloud made it visible, epoch ms; null where it does not say. */
  ingested_at: number | null
  body: string
  origin: {
    /** Plugin id of the source. */
    source: string
    /** Log group and stream, workspace and table, file name. */
    stream: string
  }
}

export interface Page<K> {
  records: RawRecord[]
  /** Where to go on after this page is published. Small and JSON-serialisable. */
  next: K
  /** Epoch ms: every event before it is in this or an earlier page; absent where the source cannot tell. */
  scanned_to?: number
  /** Events held / events that the cloud counted, where the source can tell; null: it cannot now. */
  completeness?: number | null
  /** Streams that were found meanwhile (log groups behind a prefix): the collector reads them beside this one. */
  found?: readonly Source<unknown>[]
  /** A finite source has nothing more (a file that is not followed). */
  done?: boolean
}

/**
 * `read` is called again with the last durable `next` after a throw. TransientError: again with jitter. PermanentError: the
 * stream is blind, named once, tried again slowly. On abort the iterator returns soon.
 */
export interface Source<K> {
  /** Names the stream for checkpoints, progress and metrics; stable over restarts. */
  readonly stream: string
  read(after: K | undefined, signal: AbortSignal): AsyncIterable<Page<K>>
  /** Says what is missing (credentials, file, permission) by a throw with what to do. */
  probe?(signal: AbortSignal): Promise<void>
}

export interface SourceContext {
  clock: Clock
  log: Logger
  /** The config file: relative paths are relative to its folder; null or absent: to the working directory. */
  file?: string | null
}

export interface SourceSpec<C> extends PluginSpec<C> {
  /** One source per stream; a config with three files gives three. */
  create(config: C, context: SourceContext): Source<unknown>[] | Promise<Source<unknown>[]>
}

/** What `check --probe` says of the sources: each stream is asked for itself. */
import { messageOf } from '../runtime/errors.ts'
import type { SourceContext } from '../ingest/source.ts'
import { type CollectorSource, createSources, type SourcesConfig } from '../ingest/sources/index.ts'
import { attempt, type Check } from './check-part.ts'

/**
 * The streams of one source one after the other, because they share its limits: one that never answers would hold up its
 * neighbours, and they would be called broken. `limit_ms` is the time of each.
 */
export async function sourceChecks(configs: SourcesConfig, context: SourceContext, limit_ms: number): Promise<Check[]> {
  const checks = await Promise.all(configs.map((config) => ofSource(config, context, limit_ms)))
  return checks.flat()
}

async function ofSource(config: SourcesConfig[number], context: SourceContext, limit_ms: number): Promise<Check[]> {
  let streams: CollectorSource[]
  try {
    streams = await createSources([config], context)
  } catch (error) {
    return [{ part: `source ${config.id}`, ok: false, detail: messageOf(error) }]
  }
  const checks: Check[] = []
  for (const stream of streams) checks.push(await attempt(`source ${stream.stream}`, () => probeOf(stream, limit_ms)))
  return checks
}

async function probeOf(stream: CollectorSource, limit_ms: number): Promise<string> {
  if (stream.probe === undefined) return 'has nothing to ask'
  const limit = AbortSignal.timeout(limit_ms)
  try {
    await stream.probe(limit)
    return 'answers'
  } catch (error) {
    if (limit.aborted) throw new Error(`no answer within ${limit_ms / 1000} s: is its address reachable from here?`, { cause: error })
    throw error
  }
}

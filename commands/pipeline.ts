/** The collector's pipeline with everything that it needs from other rooms: prices, owners, the hash key. */
import path from 'node:path'
import { openGeo } from '../ingest/enrich.ts'
import { hashKey } from '../ingest/fingerprint.ts'
import { createFormats } from '../ingest/formats/index.ts'
import { createPipeline, type Pipeline } from '../ingest/pipeline.ts'
import { createRater } from '../pricing/rate.ts'
import type { Config } from '../config.ts'
import type { System } from './system.ts'

export function createIngestPipeline(
  { context, book, attribution }: Pick<System, 'context' | 'book' | 'attribution'>,
  formats: Config['formats'] = context.config.formats,
): Pipeline {
  const { config, data_dir } = context
  return createPipeline({
    formats: createFormats(formats),
    hash_key: hashKey(config.privacy, data_dir),
    attribution,
    rater: createRater(book),
    privacy: config.privacy,
    geo: openGeo({ ...config.geo, cache_dir: path.join(data_dir, 'cache') }),
  })
}

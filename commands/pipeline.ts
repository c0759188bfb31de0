/** The collector's pipeline with everything that it needs from other rooms: prices, owners, the hash key. */
import path from 'node:path'
import { createAttribution } from '../ingest/attribution.ts'
import { openGeo } from '../ingest/enrich.ts'
import { hashKey } from '../ingest/fingerprint.ts'
import { createFormats } from '../ingest/formats/index.ts'
import { createPipeline, type Pipeline } from '../ingest/pipeline.ts'
import { createRater } from '../pricing/rate.ts'
import type { Config } from '../config.ts'
import type { System } from './system.ts'

/** A reload replaces `book` and `attribution` of the system: events from then on are rated and attributed by the new ones. */
export function createIngestPipeline(system: Pick<System, 'context' | 'book' | 'attribution'>, formats: Config['formats'] = system.context.config.formats): Pipeline {
  const { config, data_dir } = system.context
  const rater = following(() => system.book, createRater)
  const attribution = following(() => system.attribution, createAttribution)
  return createPipeline({
    formats: createFormats(formats),
    hash_key: hashKey(config.privacy, data_dir),
    attribution: { lookup: (owner_ref, event_time) => attribution().lookup(owner_ref, event_time) },
    rater: { rate: (event) => rater().rate(event) },
    privacy: config.privacy,
    geo: openGeo({ ...config.geo, cache_dir: path.join(data_dir, 'cache') }),
  })
}

/** Made anew when what it is made of was replaced. */
function following<From, Made>(read: () => From, make: (from: From) => Made): () => Made {
  let from = read()
  let made = make(from)
  return () => {
    const now = read()
    if (now !== from) {
      from = now
      made = make(now)
    }
    return made
  }
}

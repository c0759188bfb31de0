/** Section `detectors` of the config: which detectors run, with what, and how event time is handled. Derived from the registry. */
import { z } from 'zod'
import { duration } from '../runtime/duration.ts'
import { geographyConfig } from './detectors/geography/config.ts'
import { geography } from './detectors/geography/index.ts'
import { invalidRequestBurstConfig } from './detectors/invalid-request-burst/config.ts'
import { invalidRequestBurst } from './detectors/invalid-request-burst/index.ts'
import { tokenSpikeConfig } from './detectors/token-spike/config.ts'
import { tokenSpike } from './detectors/token-spike/index.ts'

const enabled = z.boolean().default(true).describe('false: this detector does not run')

export const detectorsConfig = z
  .strictObject({
    'token-spike': tokenSpikeConfig.extend({ enabled }).prefault({}).describe(tokenSpike.summary),
    'invalid-request-burst': invalidRequestBurstConfig.extend({ enabled }).prefault({}).describe(invalidRequestBurst.summary),
    geography: geographyConfig.extend({ enabled }).prefault({}).describe(geography.summary),
    lateness: duration.prefault('2m').describe('how far behind the scanned logs the judgement stays; what comes later than that is counted, not judged'),
    backfill_after: duration.prefault('1h').describe('findings on events older than this are stored and never page or act'),
    silent_after: duration.prefault('5m').describe('a source without a sign of life for this long no longer holds the others back'),
    snapshot_interval: duration.prefault('2m').describe('how often detector states are saved; after a crash the time since the last one is read again'),
  })
  .prefault({})
  .describe('what is watched, and how')
export type DetectorsConfig = z.infer<typeof detectorsConfig>
